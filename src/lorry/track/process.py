"""Whether a process that was started earlier still runs; a number alone may by now belong to another."""

from __future__ import annotations

_CLOCK_TOLERANCE = 2.0
"""Seconds by which two readings of one process's start may differ (the clock was set in between)."""


def started(pid: int) -> float | None:
    """When the process with this number was started (seconds since 1970); None if there is none."""
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except (psutil.Error, ValueError):
        return None


def is_alive(pid: int, since: float | None) -> bool:
    """Whether the process with this number runs and, where `since` is known, is the one that was started then."""
    now = started(pid)
    return now is not None and (since is None or abs(now - since) <= _CLOCK_TOLERANCE)
