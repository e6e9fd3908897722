"""Whether a process that was started earlier still runs; a number alone may by now belong to another."""

from __future__ import annotations

import sys

_TOLERANCE = 0.05 if sys.platform == "linux" else 2.0
"""Seconds by which two readings of one process's start may differ: by rounding, or where the clock was set in between."""


def started(pid: int) -> float | None:
    """When the process with this number was started, in seconds; None if there is none.

    On Linux since the machine was: a clock that is set moves no process then. Elsewhere since 1970.
    """
    import psutil

    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return process.create_time() - (psutil.boot_time() if sys.platform == "linux" else 0.0)
    except (psutil.Error, ValueError):
        return None


def is_alive(pid: int, since: float | None) -> bool:
    """Whether the process with this number runs and, where `since` is known, is the one that was started then."""
    now = started(pid)
    return now is not None and (since is None or abs(now - since) <= _TOLERANCE)
