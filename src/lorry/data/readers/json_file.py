"""JSON: an array of objects, or an object that holds one; a file of JSON lines under this name is read as such."""

from __future__ import annotations

import json
from typing import Any, cast

from lorry.data.bad_rows import BadRowError, BadRows
from lorry.data.readers import jsonl
from lorry.data.readers.blob import Blob, Rows
from lorry.data.rows import Origin
from lorry.data.strict_json import parse
from lorry.errors import DataError

_TURNS = ("messages", "conversations", "conversation", "prompt", "completion", "tools")
"""Lists of objects that belong to one row."""


def read(blob: Blob, bad: BadRows) -> Rows:
    """Rows in order, numbered from 1. Raises DataError when the file as a whole is not what it should be."""
    text = blob.text()
    if _is_lines(text):
        yield from jsonl.read(blob, bad)
        return
    for number, value in enumerate(_list(_whole(text, blob.name), blob.name), 1):
        origin = Origin(blob.name, number)
        try:
            yield jsonl.as_object(value), origin
        except BadRowError as error:
            bad.add(origin, error)


def _is_lines(text: str) -> bool:
    first, _, rest = text.lstrip().partition("\n")
    if not first.startswith("{") or not rest.strip():
        return False
    try:
        return isinstance(json.loads(first), dict)
    except (ValueError, RecursionError):
        return False


def _whole(text: str, name: str) -> Any:
    if not text.strip():
        raise DataError("the file is empty", place=name, hint="write at least one row")
    try:
        return parse(text)
    except BadRowError as error:
        what = f"{error.field}: {error.message}" if error.field else error.message
        raise DataError(what, place=name, hint=error.hint) from error


def _list(value: Any, name: str) -> list[Any]:
    if isinstance(value, list) and value:
        return cast("list[Any]", value)
    if not isinstance(value, dict):
        raise DataError("the file holds no rows", place=name, hint="write an array of objects")
    fields = cast("dict[str, Any]", value)
    held = {key: rows for key, rows in fields.items() if key not in _TURNS and _is_rows(rows)}
    if len(held) > 1:
        raise DataError(f"several lists of rows: {', '.join(held)}", place=name, hint="write each to a file of its own")
    if held:
        return next(iter(held.values()))
    if not fields or all(isinstance(item, list) and not item for item in fields.values()):
        raise DataError("the file holds no rows", place=name, hint="write an array of objects")
    return [fields]


def _is_rows(value: Any) -> bool:
    if not isinstance(value, list) or not value:
        return False
    return all(isinstance(item, dict) for item in cast("list[Any]", value))
