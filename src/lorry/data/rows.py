"""What a row is once its format has been understood, and where it came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Message = dict[str, Any]
"""One turn as chat templates expect it: `role`, `content`, and at times `tool_calls`, `name`, `reasoning_content`."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a row stands: the file and its line (JSONL, CSV), its number from 1 (JSON, Parquet), or 1 (text file)."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Row:
    """One row, understood: a conversation, or raw text."""

    origin: Origin
    messages: list[Message] | None = None
    text: str | None = None
    tools: list[dict[str, Any]] | None = None
