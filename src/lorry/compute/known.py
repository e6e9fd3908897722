"""What a run's events at home tell its controller, kept up as they are written: nobody reads a long file twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

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
    preempted: int = 0
    """How often a machine was taken back."""
    fruitless: int = 0
    """Machines that were rented since the last optimizer step."""
    losses: Counter[str] = field(default_factory=Counter[str])
    """How often each outcome was told since the last optimizer step."""
    rented: set[str] = field(default_factory=set[str])
    """Leases that were told of."""
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
        elif event.kind == "sent":
            self._sent_to, self._told = event.data["lease"], int(event.data["after"])
        elif event.kind == "delivered":
            self.delivered = event.step if event.step is not None else event.data.get("step")

    def sent_after(self, lease: str) -> int | None:
        """The number of the machine's last event that is known; None where the run was not sent to that machine yet."""
        return self._told if self._sent_to == lease else None
