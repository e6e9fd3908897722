"""Points in time as people and programs write them, and days as they are said."""

from __future__ import annotations

import re
from calendar import isleap
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Any, Literal

from lorry.data.bad_rows import BadRowError

Calendar = Literal["gregorian", "julian"]

MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS = ((1e11, 1), (1e14, 1e3), (1e17, 1e6), (1e20, 1e9))
"""Below which size a number counts seconds since 1970, milliseconds, microseconds, or nanoseconds."""


class Day(date):
    """A date that is said as people say it: `3 September 1666`, or as a format asks: `{date:%d.%m.%Y}`."""

    def __format__(self, form: str) -> str:
        return self.strftime(form) if form else f"{self.day} {MONTHS[self.month - 1]} {self.year}"


def moment(value: Any, field: str, zone: tzinfo | None) -> datetime:
    """When it was, by the writer's own clock. Raises BadRowError for what is no point in time.

    ISO 8601 in all its forms, `2024/03/01 10:30`, and numbers of seconds or milliseconds since 1970. `zone` is where the writer
    lived: times that say how far they are from UTC, and numbers, are moved there; others are the writer's own already.
    """
    if value is None or value == "":
        raise BadRowError("is missing", field=field, hint=_HINT)
    found = _of_text(value, field) if isinstance(value, str) else _of_number(value, field)
    try:
        return found.astimezone(zone) if zone is not None and found.tzinfo is not None else found
    except (OverflowError, ValueError) as error:
        raise BadRowError(f"`{str(value)[:40]}` lies outside the years 1 to 9999", field=field, hint=_HINT) from error


def seconds(at: datetime) -> float:
    """Seconds since 1970, negative before; a time of no zone counts as UTC."""
    return ((at if at.tzinfo else at.replace(tzinfo=UTC)) - _EPOCH).total_seconds()


def day_of(at: datetime, calendar: Calendar) -> Day:
    """The day, in the calendar that the writer used."""
    if calendar == "gregorian":
        return Day(at.year, at.month, at.day)
    year, month, day = _julian(at.date())
    return Day(year, month, day if month != 2 or day < 29 or isleap(year) else 28)


def _of_text(text: str, field: str) -> datetime:
    text = text.strip()
    if re.fullmatch(r"[+-]?\d{9,}(\.\d*)?", text):
        return _of_number(float(text), field)
    written = re.sub(r"^(\d{4})[/.](\d{1,2})[/.](\d{1,2})", _with_dashes, text)
    try:
        return datetime.fromisoformat(written)
    except ValueError as error:
        raise BadRowError(f"`{text[:40]}` is no date that is understood", field=field, hint=_HINT) from error


def _with_dashes(found: re.Match[str]) -> str:
    return f"{found[1]}-{int(found[2]):02}-{int(found[3]):02}"


def _of_number(value: Any, field: str) -> datetime:
    if isinstance(value, datetime):
        return value
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise BadRowError(f"is {type(value).__name__}, not a date", field=field, hint=_HINT)
    scale = next((scale for limit, scale in _UNITS if abs(value) < limit), None)
    try:
        if scale is None:
            raise OverflowError
        return _EPOCH + timedelta(seconds=value / scale)
    except (OverflowError, ValueError) as error:
        raise BadRowError(f"`{value:g}` lies outside the years 1 to 9999", field=field, hint=_HINT) from error


def _julian(day: date) -> tuple[int, int, int]:
    """Year, month and day by the calendar of Julius Caesar (E. G. Richards, Mapping Time, 1998, algorithm F).

    It has a 29 February 1700, 1800 and so on, which no `date` can be; `day_of` says the 28th for it.
    """
    since = day.toordinal() + 1721425 + 32082
    years = (4 * since + 3) // 1461
    days = since - 1461 * years // 4
    months = (5 * days + 2) // 153
    return years - 4800 + months // 10, months + 3 - 12 * (months // 10), days - (153 * months + 2) // 5 + 1


_HINT = "write it as ISO 8601: `2024-03-01` or `2024-03-01T21:30:00+01:00`"
