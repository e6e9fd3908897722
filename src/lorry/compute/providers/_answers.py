"""What a provider answers, read with care: a field that is missing or of another kind is as if it were not there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast

from lorry.secrets.masking import mask
from lorry.visible import clean

Fields = Mapping[str, Any]
"""A JSON object."""
_LONGEST = 300


def said(text: str) -> str:
    """What a provider said, for people: one line of at most 300 characters, without secrets and control characters."""
    line = clean(mask(" ".join(text[: 10 * _LONGEST].split())))
    return line if len(line) <= _LONGEST else line[: _LONGEST - 3] + "..."


def value(data: Any, *path: str) -> Any:
    """What stands at a path of keys; None where there is nothing."""
    for key in path:
        data = cast("Fields", data).get(key) if isinstance(data, Mapping) else None
    return data


def text(data: Any, *path: str) -> str:
    """A string, or a whole number as one, as ids are at times; empty for anything else."""
    found = value(data, *path)
    if isinstance(found, int) and not isinstance(found, bool):
        return str(found)
    return found if isinstance(found, str) else ""


def number(data: Any, *path: str) -> float | None:
    """A finite number that is not negative; None for anything else."""
    found = value(data, *path)
    if isinstance(found, bool) or not isinstance(found, (int, float)):
        return None
    try:
        read = float(found)
    except OverflowError:
        return None
    return read if math.isfinite(read) and read >= 0 else None


def whole(data: Any, *path: str) -> int:
    """A whole number that is not negative; 0 for anything else."""
    return int(number(data, *path) or 0)


def flag(data: Any, *path: str) -> bool:
    """Whether `true` stands there."""
    return value(data, *path) is True


def fields(data: Any, *path: str) -> Fields:
    """An object; an empty one for anything else."""
    found = value(data, *path)
    return cast("Fields", found) if isinstance(found, Mapping) else {}


def objects(data: Any, *path: str) -> list[Fields]:
    """The objects of a list; none for anything else."""
    found = value(data, *path)
    return [cast("Fields", one) for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


def texts(data: Any, *path: str) -> list[str]:
    """The strings of a list; none for anything else."""
    found = value(data, *path)
    return [one for one in cast("list[Any]", found) if isinstance(one, str)] if isinstance(found, list) else []


def moment(data: Any, *path: str) -> float | None:
    """Seconds since 1970 of a number or an RFC 3339 time; None for anything else."""
    found = value(data, *path)
    if not isinstance(found, str):
        return number(data, *path)
    try:
        return datetime.fromisoformat(found).timestamp()
    except (ValueError, OverflowError):
        return None
