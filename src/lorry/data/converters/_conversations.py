"""Rows that a format of conversations reads, as messages: the reader does all the work."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, cast

from lorry.data.bad_rows import BadRowError
from lorry.data.converters._base import Converter, Made, digest, source_of
from lorry.data.converting.room import Room
from lorry.data.formats._base import Format
from lorry.data.readers.blob import RawRow
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
            turns = [turn for turn in row.messages or [] if turn["role"] != "system"]
            asks = "\n".join(f"{turn['content']}{turn.get('tool_calls') or ''}" for turn in turns[:-1])
            answers = f"{turns[-1]['content']}{turns[-1].get('tool_calls') or ''}"
            yield Made(written, asks, answers, (source,), digest(asks))

    def _format(self) -> Format:
        return cast("Format", make("formats", self.reads))


_ALIKE = "convert each kind of row by itself"
