"""Numbers as people read them: seconds, bytes, counts, losses, money, points in time."""

from __future__ import annotations

import math
from datetime import UTC, datetime


def duration(seconds: float) -> str:
    """Seconds as `24 ms`, `0.4 s`, `12 s`, `3 min 20 s`, `2 h 5 min` or `4 d 3 h`."""
    if not math.isfinite(seconds):
        return "?"
    seconds = max(seconds, 0.0)
    if 0 < seconds < 0.1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    for limit, big, small, name, below in (
        (3600, 60, 1, "min", "s"),
        (86400, 3600, 60, "h", "min"),
        (math.inf, 86400, 3600, "d", "h"),
    ):
        if whole < limit:
            rest = whole % big // small
            return f"{whole // big} {name} {rest} {below}" if rest else f"{whole // big} {name}"
    raise AssertionError("every number is below infinity")


def age(seconds: float) -> str:
    """Seconds in their largest unit: `12 s`, `3 min`, `2 h`, `41 d`."""
    seconds = max(seconds, 0.0)
    for limit, scale, name in ((60, 1, "s"), (3600, 60, "min"), (172_800, 3600, "h"), (math.inf, 86_400, "d")):
        if seconds < limit:
            return f"{seconds // scale:.0f} {name}"
    raise AssertionError("every number is below infinity")


def size(count: float) -> str:
    """Bytes in decimal units: `512 B`, `9.8 MB`, `1.25 GB`."""
    for limit, scale, name, digits in (
        (1e3, 1, "B", 0),
        (1e6, 1e3, "kB", 1),
        (1e9, 1e6, "MB", 1),
        (1e12, 1e9, "GB", 2),
    ):
        if count < limit:
            return f"{count / scale:.{digits}f} {name}"
    return f"{count / 1e12:.2f} TB"


def count(number: float) -> str:
    """A whole number with commas: `11,661`."""
    return f"{number:,.0f}"


def rate(per_second: float) -> str:
    """Something a second, in three digits or more: `3.41`, `522`, `12,040`."""
    return f"{per_second:.3g}" if per_second < 100 else f"{per_second:,.0f}"


def value(number: float | None) -> str:
    """A score or a loss in four digits; `-` where there is none, `nan` where it is not a number."""
    if number is None:
        return "-"
    if number == 0 or not math.isfinite(number):
        return f"{number:g}"
    if abs(number) < 1e-3 or abs(number) >= 1e6:
        return f"{number:.3e}"
    return f"{number:.4f}" if abs(number) < 10 else f"{number:,.2f}"


def money(dollars: float) -> str:
    """US dollars: `$0.42`."""
    return f"${dollars:,.2f}"


def cents(dollars: float) -> str:
    """US dollars of which parts of a cent tell: `$0.0042`; from ten cents on as `money`, and below nothing as `-$5.00`."""
    size = abs(dollars)
    near = float(f"{size:.2g}")
    digits = 1 - math.floor(math.log10(near)) if 1e-6 <= near < 0.1 else 2
    return f"{'-' if dollars < 0 else ''}${size:,.{digits}f}"


def moment(at: float) -> str:
    """Seconds since 1970 as UTC: `2026-01-03 14:30:52`."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}"
