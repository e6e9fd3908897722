"""How the trainer speaks: facts and signs of life, through a pipe to the agent that writes them down.

A line is `{"kind": ..., "step": ..., "data": {...}}` for an event, or `{"beat": [phase, step]}` for a sign of life.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

from lorry.track.events import EventLog, last_attempt

FD, AGENT, ATTEMPT, RUNG = "LORRY_EVENTS_FD", "LORRY_AGENT", "LORRY_ATTEMPT", "LORRY_RUNG"
"""Environment variables of the trainer: the pipe that the agent reads, the agent's process, the number of the attempt, and the
memory rung to begin on (JSON) where it is not that of the checkpoint."""
BEGAN = "LORRY_BEGAN"
"""Environment variable: when the run would have begun by `time.monotonic`, had it been worked on without a pause."""
TAKEN = 75
"""The agent's exit code where another agent has the run (EX_TEMPFAIL of sysexits.h)."""
_BETWEEN_BEATS = 0.5
"""Seconds between two signs of life of one phase."""


class Reporter(Protocol):
    """Who is told what happens. Safe to use from several threads."""

    def append(self, kind: str, *, step: int | None = None, **data: Any) -> object:
        """Tells an event."""
        ...

    def beat(self, phase: str, step: int) -> None:
        """Says that something moves: `loading`, `training`, `answering` (and judging that), `evaluating`, `scoring`."""
        ...

    def end(self, kind: str, **data: Any) -> None:
        """Tells the last event: what is told after it is lost."""
        ...


class Pipe:
    """To the agent. A broken pipe, when the agent is gone, is passed over: the system ends the trainer then."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = Lock()
        self._closed = False
        self._beat: tuple[str, float] = ("", 0.0)

    def append(self, kind: str, *, step: int | None = None, **data: Any) -> None:
        """Tells an event. It is in the pipe when this returns, and outlives this process."""
        with self._lock:
            self._send({"kind": kind, "step": step, "data": data})

    def end(self, kind: str, **data: Any) -> None:
        """Tells the last event: what is told after it is lost."""
        with self._lock:
            self._send({"kind": kind, "step": None, "data": data})
            self._closed = True

    def beat(self, phase: str, step: int) -> None:
        """Says that something moves; too many in a row are left out."""
        now = time.monotonic()
        if phase != self._beat[0] or now - self._beat[1] >= _BETWEEN_BEATS:
            self._beat = (phase, now)
            with self._lock:
                self._send({"beat": [phase, step]})

    def _send(self, message: dict[str, Any]) -> None:
        line = (json.dumps(message, ensure_ascii=True, default=_plain) + "\n").encode()
        while line and not self._closed:
            try:
                line = line[os.write(self._descriptor, line) :]
            except BrokenPipeError:
                self._closed = True


class Direct:
    """Straight into the events, for a trainer that no agent watches."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._lock = Lock()
        self._closed = False

    def append(self, kind: str, *, step: int | None = None, **data: Any) -> None:
        """Writes an event."""
        with self._lock:
            if not self._closed:
                self._log.append(kind, step=step, **data)

    def end(self, kind: str, **data: Any) -> None:
        """Writes the last event."""
        with self._lock:
            if not self._closed:
                self._log.append(kind, **data)
            self._closed = True

    def beat(self, phase: str, step: int) -> None:
        """Nobody listens."""


def _plain(value: Any) -> Any:
    """NumPy's and torch's numbers as numbers, anything else as text."""
    return value.item() if hasattr(value, "item") else str(value)


def connect(events: Path) -> Reporter:
    """The agent's pipe where this process has one, else the file of events itself."""
    number = os.environ.pop(FD, "")
    return Pipe(int(number)) if number.isdecimal() else Direct(EventLog(events, attempt=attempt(events)))


def attempt(events: Path) -> int:
    """The attempt that this process is: what the agent says, else the last one that the events tell of."""
    number = os.environ.get(ATTEMPT, "")
    return int(number) if number.isdecimal() else last_attempt(events)
