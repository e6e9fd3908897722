"""Probes of `track`: a run that is told of as it was, seen by who was told."""

from __future__ import annotations

import os
import time
from threading import Event as Signal
from typing import Any

from lorry.track.delivery import Pace
from lorry.track.events import EventLog
from lorry.track.folder import RunFolder
from lorry.track.relay import Relay
from probes.probe import Probe, Values
from run_folders import add_step, clock_from
from tiny_runs import begin
from webhook import webhook

_HOOK = "LORRY_PROBE_HOOK"
_MINUTES = 60.0


def told(values: Values) -> RunFolder:
    """A run of two steps, a quarter of an hour each, of which everybody was told."""
    folder = begin(values).folder
    log = EventLog(folder.events, clock=clock_from(time.time() - 50 * _MINUTES, pause=15 * _MINUTES))
    log.append("started", steps=2, from_step=0)
    for number in (1, 2):
        add_step(log, number, loss=1.0)
    log.append("finished", seconds=30 * _MINUTES)
    ended = Signal()
    ended.set()
    Relay(folder, pace=Pace(retries=())).work(ended)
    return folder


def trackers(values: Values) -> bool:
    """Whether TensorBoard has files of the run."""
    return any((told(values).path / "tensorboard").glob("events.out.tfevents.*"))


def messages(values: Values) -> list[str]:
    """What a webhook was sent."""
    with webhook() as hook:
        os.environ[_HOOK] = hook.address
        folder = told(values)
        del os.environ[_HOOK]
        return [title.removeprefix(f"{folder.id}: ") for title in hook.titles]


_TO: dict[str, Any] = {"track.alerts.to": [f"${_HOOK}"]}
_HALVES = ("step 1 of 2", "step 2 of 2")
_BEGUN, _DONE = "training has started", "completed"

PROBES = [
    Probe("track.sinks", ([], ["tensorboard"]), trackers, (False, True)),
    Probe("track.alerts.to", ([], _TO["track.alerts.to"]), messages, ([], [_BEGUN, _DONE])),
    Probe("track.alerts.about", (["completed"], ["started", "completed"]), messages, ([_DONE], [_BEGUN, _DONE]), _TO),
    Probe(
        "track.alerts.progress_hours",
        (None, 0.2),
        messages,
        ([_BEGUN, _DONE], [_BEGUN, "step 1 of 2", "step 2 of 2", _DONE]),
        _TO,
    ),
]
