"""What did not go as planned in a run, each as a sentence; pure."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import PurePath
from typing import Any

from lorry import units
from lorry.report.sources import Sources
from lorry.track.events import Event

_ROWS = 5
"""Rows that are named; of more, the number."""


def incidents(sources: Sources) -> list[str]:
    """The sentences, in the order in which things happened, and then what the records themselves show."""
    now = sources.now
    found = list(now.warnings)
    if now.attempt > 1:
        found.append(f"the run took {now.attempt} attempts")
    found += [_TOLD[event.kind](event) for event in now.incidents]
    bad = [record for record in now.records.values() if not _is_finite(record.data.get("loss"))]
    if bad:
        found.append(f"the loss was not a number at {len(bad)} recorded steps, first at step {bad[0].step}")
    return [*dict.fromkeys(found), *sources.damage]


def _crashed(event: Event) -> str:
    then = {"lower": "went on one memory rung down", "restart": "was started again"}.get(
        str(event.data["action"]), "ended"
    )
    return f"after step {event.step}: {event.data['error']}; the trainer {then}"


def _diverged(event: Event) -> str:
    rows = [str(row) for row in event.data["rows"]]
    named = ", ".join(rows[:_ROWS]) + (f" and {len(rows) - _ROWS} more" if len(rows) > _ROWS else "")
    back = event.data["return_to"]
    return f"{event.data['reason']}; rows: {named}" + ("" if back is None else f"; left out, from step {back} on again")


def _rejected(event: Event) -> str:
    return f"the checkpoint {PurePath(str(event.data['path'])).name} was passed over: {event.data['reason']}"


def _stalled(event: Event) -> str:
    return f"nothing moved for {units.duration(float(event.data['seconds']))} while {event.data['phase']}"


_TOLD: dict[str, Callable[[Event], str]] = {
    "crashed": _crashed,
    "diverged": _diverged,
    "early_stop": lambda event: f"ended early at step {event.step}: {event.data['message']}",
    "failed": lambda event: f"failed: {event.data['error']}",
    "lost": lambda event: f"{event.data['message']}; {event.data['action']}",
    "may_bill": lambda event: f"{event.data['message']}: {event.data['hint']}",
    "limit": lambda event: str(event.data["message"]),
    "oom": lambda event: f"after step {event.step or 0}: memory ran out while {event.data['where']}",
    "overrun": lambda event: f"after step {event.step or 0}: {event.data['message']}",
    "rejected": _rejected,
    "slow": lambda event: f"from step {event.step} on: {event.data['message']} (likely cause: {event.data['cause']})",
    "stalled": _stalled,
    "stopped": lambda event: f"stopped: {event.data['reason']}",
}
"""What each kind of incident is in words."""


def _is_finite(raw: Any) -> bool:
    return isinstance(raw, (int, float)) and math.isfinite(raw)
