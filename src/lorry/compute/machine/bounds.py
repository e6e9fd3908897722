"""How far a machine may be believed, measured against what was known of the run when it was sent there; pure.

A number that one machine makes up must not be held against the next one: attempts are counted on from it, a budget is held
against seconds, and events are kept.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from lorry.compute.machine.told import Beat
from lorry.compute.outcomes import Outcome, OutcomeError
from lorry.track.events import Event

MOST_ATTEMPTS = 100
"""On one machine; each costs a crash of the trainer."""
MOST_STEPS = 100_000_000
"""Of a run whose number of steps was not told yet."""
MOST_EVENTS = 5_000_000
"""Of one machine: a run of a million steps has less than two million."""
MOST_BYTES = 1 << 30
"""Of one machine's events at home: a run of a million steps has about 400 MB."""
_SLACK = 60.0
"""Seconds by which two clocks may differ."""


@dataclass(frozen=True)
class Before:
    """What was known of a run when it was sent to a machine."""

    attempt: int = 1
    number: int = 0
    """Of the last event that the machine was sent."""
    seconds: float = 0.0
    """That the run had been worked on."""
    since: float = 0.0
    """When the machine began to serve the run; seconds since 1970."""
    bytes: int = 0
    """Of its events."""


class Bounds:
    """Holds what one machine tells of a run against what can be, over all connections to it."""

    def __init__(self, before: Before, *, attempt: int = 1, steps: int | None = None) -> None:
        """`attempt` and `steps` are what the machine itself has told already, to a controller before this one."""
        self._before = before
        self._attempt = max(before.attempt, attempt)
        self._steps = steps

    def event(self, event: Event) -> None:
        """Takes an event in. Raises OutcomeError UNTRUSTED where its attempt, its step or its number cannot be."""
        most = self._before.attempt + MOST_ATTEMPTS
        if not self._attempt <= event.attempt <= most:
            _distrust(f"event {event.seq} of attempt {event.attempt} after attempt {self._attempt}")
        if event.seq - self._before.number > MOST_EVENTS:
            _distrust(f"more than {MOST_EVENTS:,} events")
        self._attempt = event.attempt
        if event.kind == "started":
            self._start(event)
        for step in (event.step, *(event.data.get(name) for name in ("step", "from_step", "return_to"))):
            if isinstance(step, int) and step > self._most_steps:
                _distrust(f"event {event.seq} of step {step} of {self._most_steps}")

    def size(self, now: int) -> None:
        """Holds the bytes of all events at home against what they were. Raises OutcomeError UNTRUSTED."""
        if now - self._before.bytes > MOST_BYTES:
            _distrust(f"more than {MOST_BYTES >> 20} MiB of events")

    def beat(self, beat: Beat, now: float) -> Beat:
        """The heartbeat with no number in it beyond what can be: a clock that was set here is no fault of the machine's."""
        worked = self._before.seconds + max(0.0, now - self._before.since) + _SLACK
        attempt = min(beat.attempt, self._before.attempt + MOST_ATTEMPTS)
        return replace(beat, seconds=min(beat.seconds, worked), step=min(beat.step, self._most_steps), attempt=attempt)

    @property
    def _most_steps(self) -> int:
        return MOST_STEPS if self._steps is None else self._steps

    def _start(self, event: Event) -> None:
        steps = int(event.data["steps"])
        if steps > MOST_STEPS:
            _distrust(f"a run of {steps} steps")
        self._steps = steps


def _distrust(what: str) -> None:
    hint = "the machine is not used any more; its files are not trusted either"
    raise OutcomeError(Outcome.UNTRUSTED, f"the machine sent {what}", hint=hint)
