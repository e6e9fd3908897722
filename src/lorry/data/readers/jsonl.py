"""JSON Lines: one object a line."""

from __future__ import annotations

from typing import Any, cast

from lorry.data.bad_rows import BadRowError, BadRows
from lorry.data.readers.blob import Blob, Rows, lines, not_utf8, refuse_binary
from lorry.data.rows import Origin
from lorry.data.strict_json import parse


def read(blob: Blob, bad: BadRows) -> Rows:
    """Rows in order; empty lines are passed over."""
    refuse_binary(blob)
    for number, (offset, line) in enumerate(lines(blob), 1):
        origin = Origin(blob.name, number)
        try:
            row = _row(line, offset)
        except BadRowError as error:
            bad.add(origin, error)
            row = None
        if row is not None:
            yield row, origin


def as_object(value: Any) -> dict[str, Any]:
    """The value, if it is an object. Raises BadRowError if not."""
    if not isinstance(value, dict):
        kind = {list: "an array", str: "a string", bool: "true or false", type(None): "null"}.get(
            type(value), "a number"
        )
        raise BadRowError(f"the row is {kind}, not an object", hint='rows look like {"messages": [...]}')
    return cast("dict[str, Any]", value)


def _row(line: bytes | BadRowError, offset: int) -> dict[str, Any] | None:
    if isinstance(line, BadRowError):
        raise line
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise BadRowError(**not_utf8(error, offset + error.start)) from error
    text = text.removeprefix("\ufeff") if not offset else text
    return as_object(parse(text.rstrip("\r\n"))) if text and not text.isspace() else None
