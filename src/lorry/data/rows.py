"""What a row is once its format has been understood, and where it came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lorry.data.images.picture import Picture
    from lorry.data.images.references import Reference

Message = dict[str, Any]
"""One turn as chat templates expect it: `role`, `content`, and at times `tool_calls`, `name`, `reasoning_content`."""

INSTRUCTING = ("system", "developer")
"""Roles of turns that say how to answer, and ask nothing by themselves."""

MARK = "\ufffc"
"""Stands in a turn's text where an image does, of rows that have images: Unicode's sign for an object among text."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a row stands: the file and its line (JSONL, CSV), its number from 1 (JSON, Parquet), or 1 (text file)."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Row:
    """One row, understood: raw text, or a conversation with what is known of its answer."""

    origin: Origin
    messages: list[Message] | None = None
    """The whole conversation; the preferred one where there are two. Rows for reinforcement end before the answer."""
    text: str | None = None
    tools: list[dict[str, Any]] | None = None
    rejected: list[Message] | None = None
    """The same conversation with the answer that people liked less."""
    label: bool | None = None
    """Whether the answer is a good one."""
    asked: int = 0
    """Turns of the prompt, where only what follows them is an answer to learn from; 0 for every assistant turn."""
    columns: dict[str, Any] | None = None
    """What else a row without an answer holds, for rewards; None for rows with one."""
    truth: str = ""
    """What is right, where a row without an answer says so."""
    beside: dict[str, Any] | None = None
    """What else a row with an answer holds, for metrics."""
    images: tuple[Reference, ...] = ()
    """What it names as images, in the order of the marks in its turns, until they are taken in."""
    pictures: tuple[Picture, ...] = ()
    """The same afterwards."""
