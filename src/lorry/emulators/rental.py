"""One rented machine as its cloud knows it: its state, its price, what has been billed. Pure, and written as JSON."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from lorry.emulators.faults import Fault, Kind

State = Literal["waiting", "booting", "running", "stopped", "broken", "ended"]
_HOUR = 3600.0


class Rates(BaseModel):
    """US dollars an hour."""

    compute: float
    """While it is there and not stopped, whether it is ready or not."""
    disk: float = 0.0
    """Of its disks, meanwhile."""
    stopped_disk: float = 0.0
    """Of what stays of them while it is stopped."""


class Span(BaseModel):
    """A time at one price."""

    what: Literal["compute", "disk"]
    since: float
    until: float | None = None
    usd_per_hour: float

    def usd(self, now: float, begin: float = 0.0, end: float = float("inf")) -> float:
        """What it cost up to now, of that what lies between `begin` and `end`."""
        until = min(now if self.until is None else self.until, end)
        return max(0.0, until - max(self.since, begin)) * self.usd_per_hour / _HOUR


class Rental(BaseModel):
    """A machine from the request for it until long after its end. Times are seconds since 1970."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    id: str
    name: str
    key: str
    """The key that is on the machine: it can stop and end this machine, and nothing else."""
    rates: Rates
    created: float
    facts: dict[str, Any] = Field(default_factory=dict[str, Any])
    """What its cloud's API tells of it beside."""
    gpu: dict[str, Any] | None = None
    """What it was sold with: `{"id": ..., "name": ..., "memory": bytes, "count": n}`; None for a machine without."""
    words: list[str] = Field(default_factory=list[str])
    environment: dict[str, str] = Field(default_factory=dict[str, str])
    mount: str = ""
    volume: str = ""
    """The network volume that is mounted; empty where the machine's own volume is, or none."""
    state: State = "waiting"
    state_since: float = 0.0
    started: float | None = None
    ended: float | None = None
    why: str = ""
    """How it came into its state; for people."""
    keeps_disk: bool = False
    """Whether its disk outlives stops."""
    port: int = 0
    told_port: int = 0
    """The port that the API tells, when that is not the real one any more."""
    told_until: float = 0.0
    inner_port: int = 0
    """Where the SSH server really listens, behind a slow network; 0 where nothing is between."""
    starts: int = 0
    reboots: bool = False
    """Whether it starts again once it has ended what ran: a restart in place."""
    refused_until: float = 0.0
    spans: list[Span] = Field(default_factory=list[Span])
    faults: list[Fault] = Field(default_factory=list[Fault])

    @property
    def is_there(self) -> bool:
        """Whether its cloud still knows it."""
        return self.state != "ended"

    @property
    def takes_capacity(self) -> bool:
        """Whether it holds a GPU."""
        return self.state in ("waiting", "booting", "running", "broken")

    @property
    def usd_per_hour(self) -> float:
        """What it bills now, disks included."""
        return sum(span.usd_per_hour for span in self.spans if span.until is None)

    def bill(self, now: float) -> None:
        """Begins the spans that its state costs, and closes those that it costs no more."""
        for span in self.spans:
            if span.until is None:
                span.until = now
        if self.takes_capacity:
            self.spans.append(Span(what="compute", since=now, usd_per_hour=self.rates.compute))
        disk = 0.0 if not self.is_there else self.rates.disk if self.takes_capacity else self.rates.stopped_disk
        if disk:
            self.spans.append(Span(what="disk", since=now, usd_per_hour=disk))

    def usd(self, now: float, *, what: str = "", begin: float = 0.0, end: float = float("inf")) -> float:
        """What it has cost up to now; only of `what`, and between two times, where these are given."""
        return sum(span.usd(now, begin, end) for span in self.spans if what in ("", span.what))

    def seconds(self, now: float) -> float:
        """Seconds that its computing was billed for."""
        return sum((now if s.until is None else s.until) - s.since for s in self.spans if s.what == "compute")

    def fault(self, kind: Kind) -> Fault | None:
        """The fault of this kind that it has; it stays."""
        return next((fault for fault in self.faults if fault.kind == kind), None)

    def take(self, kind: Kind) -> Fault | None:
        """The fault of this kind that it has, counted down."""
        fault = self.fault(kind)
        if fault is not None:
            fault.times -= 1
            if fault.times <= 0:
                self.faults.remove(fault)
        return fault
