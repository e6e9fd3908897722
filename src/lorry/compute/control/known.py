"""What a run's events at home tell its controller, kept up as they are written: nobody reads a long file twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from lorry.compute.outcomes import Outcome
from lorry.track.events import ENDINGS, Event


@dataclass
class Known:
    """The sum of all events so far."""

    attempt: int = 1
    """The highest that events are of."""
    number: int = 0
    """Of the last event."""
    step: int = 0
    """The optimizer step that was told last."""
    has_ended: bool = False
    delivered: int | None = None
    """The step whose adapter was delivered last."""
    scores: dict[int, dict[str, Any]] = field(default_factory=dict[int, dict[str, Any]])
    """What evaluations gave, by step, of the last attempt that came by it."""
    preempted: int = 0
    """How often a machine was taken back."""
    fruitless: int = 0
    """Machines that were rented since the last optimizer step."""
    losses: Counter[str] = field(default_factory=Counter[str])
    """How often each outcome was told since the last optimizer step."""
    rented: set[str] = field(default_factory=set[str])
    """Leases that were told of."""
    steps: int | None = None
    """Of the run, as the machine that it is on tells."""
    brought: set[int] = field(default_factory=set[int])
    """Steps of the checkpoints that this machine brought home."""
    copied: set[int] = field(default_factory=set[int])
    """The same of all machines."""
    faults: tuple[str, ...] = ()
    """Codes of what the machine that it is on lacks, as its trainer found."""
    _attempt_before: int = 1
    _sent_to: str = ""
    _told: int = 0

    @classmethod
    def of(cls, events: Iterable[Event]) -> Known:
        """What these events tell."""
        known = cls()
        for event in events:
            known.add(event)
        return known

    def add(self, event: Event) -> None:
        """Takes in an event that was written."""
        self.number = event.seq
        self.attempt = max(self.attempt, event.attempt)
        self.has_ended = event.kind in ENDINGS
        if self.has_ended:  # where a person has it go on after that, it is a new beginning
            self.preempted = 0
        if event.told is not None:
            self._told = max(self._told, event.told)
        if event.kind == "step":
            self.step = event.step or 0
        if event.kind == "step" or self.has_ended:
            self.fruitless = 0
            self.losses.clear()
        elif event.kind == "lost":
            self.losses[event.data["outcome"]] += 1
            self.preempted += event.data["outcome"] == Outcome.PREEMPTED.name
        elif event.kind == "rented":
            self.fruitless += 1
            self.rented.add(event.data["lease"])
        elif event.kind in ("sent", "machine", "started", "copied"):
            self._take_machine(event)
        elif event.kind == "evaluated" and event.step is not None:
            self.scores[event.step] = event.data
        elif event.kind == "delivered":
            self.delivered = event.step if event.step is not None else event.data.get("step")

    def _take_machine(self, event: Event) -> None:
        if event.kind == "started":
            self.steps = event.data["steps"]
        elif event.kind == "machine":
            found = [one for one in event.data["findings"] if isinstance(one, dict) and one.get("severity") == "error"]
            self.faults = tuple(str(one.get("code", "")) for one in found)
        elif event.kind == "copied" and event.step is not None:
            self.brought.add(event.step)
            self.copied.add(event.step)
        elif event.kind == "sent":
            self._take_sent(event)

    def _take_sent(self, event: Event) -> None:
        lease = event.data["lease"]
        if lease != self._sent_to:
            self._attempt_before, self.steps, self.brought, self.faults = self.attempt, None, set(), ()
        self._sent_to, self._told = lease, int(event.data["after"])

    def attempt_before(self, lease: str) -> int:
        """The highest attempt that was known when the run was sent to a machine first; the highest of all before that."""
        return self._attempt_before if self._sent_to == lease else self.attempt

    def brought_by(self, lease: str) -> set[int]:
        """Steps of the checkpoints that a machine brought home; none where the run was not sent there yet."""
        return set(self.brought) if self._sent_to == lease else set()

    def sent_after(self, lease: str) -> int | None:
        """The number of the machine's last event that is known; None where the run was not sent to that machine yet."""
        return self._told if self._sent_to == lease else None
