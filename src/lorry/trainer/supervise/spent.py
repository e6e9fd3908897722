"""How long a run has been worked on: what a budget is counted from, over all attempts and whatever the wall clock does."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable

from lorry.track.events import Event
from lorry.track.folder import RunFolder

_WHILE_WORKING = frozenset(
    {
        *("loaded", "rung", "oom", "resumed", "started", "step", "evaluated", "saved", "diverged", "budget"),
        *("trained", "delivered", "scoring", "scored", "finished"),
    }
)
"""Kinds of events that only a trainer writes: others may be written days before or after, when nothing costs anything."""


def seconds_spent(folder: RunFolder, history: Iterable[Event]) -> float:
    """Seconds of earlier agents: as the last heartbeat tells, else from the times of events, which a set clock makes wrong."""
    try:
        told = float(json.loads(folder.heartbeat.read_text(encoding="utf-8"))["seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        told = math.nan
    return told if math.isfinite(told) and told >= 0 else _between_events(history)


def _between_events(history: Iterable[Event]) -> float:
    spans: dict[int, tuple[float, float]] = {}
    for event in history:
        if event.kind in _WHILE_WORKING:
            first, last = spans.get(event.attempt, (event.at, event.at))
            spans[event.attempt] = (min(first, event.at), max(last, event.at))
    return sum(last - first for first, last in spans.values())
