"""Which converter reads an input: the one that is named, or the one that knows its first row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, cast

from lorry import plugins
from lorry.data.converters._base import Converter
from lorry.data.converting.room import Room
from lorry.data.readers.blob import RawRow
from lorry.data.rows import Origin
from lorry.errors import DataError


def chosen(
    name: str, settings: Mapping[str, Any], rows: Iterator[RawRow], room: Room
) -> tuple[Converter, Iterator[RawRow]]:
    """The converter, and all rows. Raises DataError where there is no row, or none that a converter knows."""
    named = None if name == "auto" else _made(name, settings)
    first = next(rows, None)
    if first is None:
        if room.bad.count:
            raise room.bad.error(room.bad.count)
        raise DataError("there are no rows", hint="the file is empty, or holds empty lines only")
    return named or _made(_known(*first), settings), chain([first], rows)


def _made(name: str, settings: Mapping[str, Any]) -> Converter:
    return cast("Converter", plugins.make("converters", {**settings, "name": name}))


def _known(raw: dict[str, Any], origin: Origin) -> str:
    for name in plugins.names("converters"):
        if cast("Converter", plugins.find("converters", name)()).matches(raw):
            return name
    fields = ", ".join(f"`{field[:40]}`" for field in list(raw)[:8]) or "none"
    hint = "name one with `--from`; `lorry data converters` lists them"
    raise DataError(f"no converter knows a row with the fields {fields}", place=str(origin), hint=hint)
