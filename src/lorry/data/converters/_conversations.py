"""Rows that a format of conversations reads, as messages: the reader does all the work."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, ClassVar, cast

from lorry.data.alike.shingles import plain
from lorry.data.bad_rows import BadRowError
from lorry.data.converters._base import Converter, Made, digest, source_of
from lorry.data.converting.room import Room
from lorry.data.formats._base import Format
from lorry.data.readers.blob import RawRow
from lorry.data.rows import INSTRUCTING, Message, Row
from lorry.plugins import make


class Conversations(Converter):
    """Takes each row as its format reads it."""

    reads: ClassVar[str]
    """The name of the format."""

    def matches(self, raw: dict[str, Any]) -> bool:
        """As the format says."""
        return self._format().matches(raw)

    def convert(self, rows: Iterator[RawRow], room: Room) -> Iterator[Made]:
        """One row of messages for each row."""
        layout = self._format()
        for raw, origin in rows:
            try:
                if not layout.matches(raw):
                    fields = ", ".join(f"`{name[:40]}`" for name in list(raw)[:8]) or "none"
                    raise BadRowError(f"the row has not the fields of `{self.reads}`, but {fields}", hint=_ALIKE)
                row = layout.read(raw, origin)
            except BadRowError as error:
                room.bad.add(origin, error)
                continue
            source = source_of(raw)
            own = {"id": raw["id"]} if isinstance(raw.get("id"), str | int) else {}
            written = {**own, "messages": row.messages, **({"tools": row.tools} if row.tools else {})}
            turns = [turn for turn in row.messages or [] if turn["role"] not in INSTRUCTING]
            asks = "\n".join(f"{turn['content']}{turn.get('tool_calls') or ''}" for turn in turns[:-1])
            answers = f"{turns[-1]['content']}{turns[-1].get('tool_calls') or ''}"
            yield Made(written, asks, answers, (source,), digest(_opening(turns)), apart=_apart(row))

    def _format(self) -> Format:
        return cast("Format", make("formats", self.reads))


def _opening(turns: list[Message]) -> str:
    """What a conversation begins with: those that begin alike are of one group, wherever they go from there."""
    return next((plain(str(turn["content"])) for turn in turns if turn["role"] == "user"), "")


def _apart(row: Row) -> str:
    """Who speaks, what instructs the model, its tools, and reasoning: whatever a row has beside what is asked and answered."""
    said = ("content", "tool_calls")
    turns = [
        turn if turn["role"] in INSTRUCTING else {name: turn[name] for name in turn if name not in said}
        for turn in row.messages or []
    ]
    return digest(json.dumps([turns, row.tools], sort_keys=True, default=str))


_ALIKE = "convert each kind of row by itself"
