"""One entry of a diary: its fields by any of their usual names, checked."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any, cast

from lorry.data.bad_rows import BadRowError
from lorry.data.converters._base import Source, source_of
from lorry.data.diary.days import Calendar, Day, day_of, moment, seconds
from lorry.data.turns import text_of

TIMES = ("timestamp", "date", "datetime", "created_at", "time")
TEXTS = ("content", "text", "body", "entry")
_NAMED = ("name", "text", "value")


@dataclass(frozen=True, slots=True)
class Entry:
    """What somebody wrote on a day."""

    source: Source
    day: Day
    at: float
    """Seconds since 1970."""
    text: str
    tags: tuple[str, ...]
    """Lower case, each once."""
    entities: tuple[str, ...]
    """People, places and things, each once."""


def is_entry(raw: Mapping[str, Any]) -> bool:
    """Whether there is a time and a text."""
    return any(name in raw for name in TIMES) and any(name in raw for name in TEXTS)


def entry_of(raw: dict[str, Any], calendar: Calendar, zone: tzinfo | None) -> Entry:
    """The entry. Raises BadRowError for fields that cannot be used; tags and entities may be missing."""
    time, text = _first(raw, TIMES), _first(raw, TEXTS)
    at = moment(raw.get(time), time, zone)
    content = text_of(raw.get(text), text).replace("\r\n", "\n").strip()
    try:
        day = day_of(at, calendar)
    except ValueError as error:
        raise BadRowError("lies before the calendar begins", field=time, hint="write a year from 1 to 9999") from error
    tags = tuple(dict.fromkeys(tag.casefold() for tag in _words(raw.get("tags"), "tags")))
    return Entry(source_of(raw), day, seconds(at), content, tags, _words(raw.get("entities"), "entities"))


def _first(raw: Mapping[str, Any], names: Sequence[str]) -> str:
    return next((name for name in names if raw.get(name) is not None), names[0])


def _words(value: Any, field: str) -> tuple[str, ...]:
    """Words from a list, or from a text with commas or semicolons between; those of no letters are passed over."""
    if value is None:
        return ()
    if isinstance(value, str):
        value = re.split(r"[,;]", value.strip().strip("[]"))
    if not isinstance(value, list | tuple):
        hint = f'write a list: {{"{field}": ["music", "work"]}}'
        raise BadRowError(f"is {type(value).__name__}, not a list of words", field=field, hint=hint)
    found = [" ".join(_word(one, field).strip("\"'# ").split()) for one in cast("list[Any]", value)]
    return tuple(dict.fromkeys(word for word in found if any(map(str.isalnum, word))))


def _word(value: Any, field: str) -> str:
    if isinstance(value, Mapping):
        held = cast("Mapping[str, Any]", value)
        value = next((held[name] for name in _NAMED if name in held), None)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:g}"
    if not isinstance(value, str):
        hint = f'write a list of words: {{"{field}": ["music", "work"]}}'
        raise BadRowError("holds what is no word", field=field, hint=hint)
    return value
