"""Where a run stands, folded from its events; what every list, line, page and report shows comes from here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from lorry.track.events import Event
from lorry.track.replay import returns_to

_STATUS = {"created": "created", "finished": "finished", "failed": "failed", "stopped": "stopped"}
"""Kinds of events that set the status by themselves; any other makes the run `running`."""

INCIDENTS = frozenset(
    {
        "crashed",
        "diverged",
        "early_stop",
        "failed",
        "limit",
        "lost",
        "may_bill",
        "oom",
        "overrun",
        "rejected",
        "slow",
        "stalled",
        "stopped",
    }
)
"""Kinds of events that tell of what did not go as planned."""


@dataclass
class Borrowed:
    """A rented machine, as the run's events tell of it: US dollars an hour, times in seconds since 1970."""

    machine: str
    """In words."""
    usd_per_hour: float
    since: float
    provider: str = ""
    id: str = ""
    """What the provider calls it."""
    until: float | None = None
    """When its end was confirmed; None before."""
    usd: float | None = None
    """What it cost in all; None while it is there."""
    lost: str = ""
    """What befell it; empty where nothing did."""
    handed: str = ""
    """The run that it went on to; empty where it was given back."""

    def cost(self, now: float) -> float:
        """US dollars up to now, or to its end."""
        return self.usd_per_hour * max(0.0, now - self.since) / 3600 if self.usd is None else self.usd


@dataclass
class RunState:
    """What the events up to now say. What is trained again is forgotten first, so that each step is there once."""

    status: str = "created"
    created_at: float | None = None
    updated_at: float | None = None
    started_at: float | None = None
    steps: int | None = None
    step: int | None = None
    attempt: int = 1
    records: dict[int, Event] = field(default_factory=dict[int, Event])
    """The `step` events by step."""
    evaluations: dict[int, Event] = field(default_factory=dict[int, Event])
    """The `evaluated` events by step."""
    notes: list[str] = field(default_factory=list[str])
    warnings: list[str] = field(default_factory=list[str])
    smoke_checks: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """What a smoke run checked: `check`, `passed`, `message`."""
    pauses: list[float] = field(default_factory=list[float])
    """Seconds that training stood still for each checkpoint."""
    incidents: list[Event] = field(default_factory=list[Event])
    """Whatever did not go as planned, in order."""
    borrowed: dict[str, Borrowed] = field(default_factory=dict[str, Borrowed])
    """The machines that were rented for it, by their lease's name; none where it trains here."""
    latest: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    """The last event's data of each kind that comes once or replaces the one before."""

    @property
    def loss(self) -> float | None:
        """Training loss of the last recorded step."""
        return self.records[max(self.records)].data["loss"] if self.records else None

    def usd(self, now: float) -> float | None:
        """What rented machines have cost up to now; None where none was rented."""
        return sum(one.cost(now) for one in self.borrowed.values()) if self.borrowed else None

    def take(self, event: Event) -> None:
        """Adds one event."""
        self.created_at = event.at if self.created_at is None else self.created_at
        self.updated_at = event.at
        self.status = _STATUS.get(event.kind, "running")
        self.attempt = max(self.attempt, event.attempt)
        if event.kind == "step" and event.step is not None:
            self.records[event.step] = event
            self.step = event.step
        elif event.kind == "evaluated" and event.step is not None:
            self.evaluations[event.step] = event
        elif event.kind == "note":
            self.notes.append(str(event.data["message"]))
        elif event.kind == "warning":
            self.warnings.append(str(event.data["message"]))
        elif event.kind == "smoke":
            self.smoke_checks.append(event.data)
        else:
            self._keep(event)

    def _keep(self, event: Event) -> None:
        back_to = returns_to(event)
        if back_to is not None:
            self._forget_after(back_to)
        if event.kind in INCIDENTS:
            self.incidents.append(event)
        if event.kind == "rented":
            self._take_machine(event)
        elif event.kind == "lost" and (lost := self.borrowed.get(str(event.data["lease"]))):
            lost.lost = str(event.data["message"])
        elif event.kind in ("returned", "handed") and (found := self.borrowed.get(str(event.data["lease"]))):
            found.usd, found.until = float(event.data["usd"]), event.at
            found.handed = str(event.data["run"]) if event.kind == "handed" else ""
        if event.kind == "saved":
            self.pauses.append(float(event.data.get("pause", 0.0)))
        if event.kind == "started":
            self.started_at = event.at
            self.steps = int(event.data["steps"])
            self.latest.pop("failed", None)  # an earlier attempt did, and the run went on
        self.latest[event.kind] = event.data if event.step is None else {**event.data, "step": event.step}

    def _take_machine(self, event: Event) -> None:
        said = event.data
        told = str(said.get("message") or said["machine"])
        machine, provider = str(said["machine"]), str(said["provider"])
        found = Borrowed(told, float(said["usd_per_hour"]), event.at, provider=provider, id=machine)
        self.borrowed[str(said["lease"])] = found

    def _forget_after(self, step: int) -> None:
        for kept in (self.records, self.evaluations):
            for late in [number for number in kept if number > step]:
                del kept[late]
        self.step = max(self.records, default=None)


def state(events: Iterable[Event]) -> RunState:
    """The state after these events."""
    folded = RunState()
    for event in events:
        folded.take(event)
    return folded
