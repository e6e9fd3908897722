"""From hours of work and a provider's terms to money; pure arithmetic, in US dollars and seconds."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Literal

from lorry.plan.ranges import ZERO, Range

HOUR = 3600.0
HOURS_A_MONTH = 730.0
"""365 days of 24 hours in 12 parts, as clouds reckon a month of storage."""

Verdict = Literal["within", "may pass", "passes"]


class NeverDoneError(Exception):
    """The work would never end: what every new start costs takes longer than the machine is left to it."""


@dataclass(frozen=True)
class Duration:
    """Seconds of each phase of a run that nothing interrupts."""

    setup: Range = ZERO
    """From asking for the machine to the first line of lorry's: boot, image, packages."""
    download: Range = ZERO
    """Model and data onto the machine."""
    loading: Range = ZERO
    """Model into the GPU's memory."""
    training: Range = ZERO
    evaluation: Range = ZERO
    """While training."""
    scoring: Range = ZERO
    """Base model and adapter at the end."""
    saving: Range = ZERO
    """Checkpoints, and the adapter home."""

    @property
    def total(self) -> Range:
        """All phases."""
        return sum((getattr(self, field.name) for field in fields(self)), ZERO)

    @property
    def start(self) -> Range:
        """What a new machine takes until training goes on."""
        return self.setup + self.download + self.loading


@dataclass(frozen=True)
class Work:
    """What a run asks of a machine. Raises ValueError for what is negative."""

    duration: Duration
    save_every: float = 600.0
    """Seconds between two checkpoints: half of it is lost, on average, when a machine is."""
    disk_gb: float = 50.0
    egress_gb: float = 1.0
    """What is fetched from the machine: adapter, checkpoints, report."""

    def __post_init__(self) -> None:
        if min(self.save_every, self.disk_gb, self.egress_gb, self.duration.total.low) < 0:
            raise ValueError("work is never negative")

    @property
    def lost(self) -> Range:
        """Seconds that a lost machine costs: half of the time between checkpoints, and the start of the next one."""
        return self.duration.start + self.save_every / 2


@dataclass(frozen=True)
class Interruptions:
    """How often a machine is taken back, and how many seconds pass before there is another."""

    per_hour: Range
    wait: Range


@dataclass(frozen=True)
class Terms:
    """How a provider bills, beside the price per hour."""

    billed_by: float = 1.0
    """Seconds; what has begun is paid."""
    minimum: float = 0.0
    """Seconds that are paid in any case."""
    storage: float | None = None
    """USD per GB and month; None where it is not known, and then not counted."""
    egress: float | None = None
    """USD per GB; None where it is not known, and then not counted."""
    monthly_fee: float = 0.0
    included: float = 0.0
    """USD of hours that the monthly fee pays for."""
    session_hours: float | None = None
    """The longest that a machine is left to one session."""
    interruptions: Interruptions | None = None


@dataclass(frozen=True)
class Cost:
    """What one run costs, in USD, and takes, in seconds."""

    machine: Range
    """Hours at the price per hour; work that is repeated among them."""
    repeated: Range
    """The part of `machine` that goes into work done twice, and into starting again."""
    storage: Range
    egress: Range
    elapsed: Range
    """Seconds from asking for the machine to the adapter at home, waiting for another machine included."""
    sessions: int = 1
    """Likely sessions, where a session is limited."""
    fee: float = 0.0
    included: float = 0.0

    @property
    def usage(self) -> Range:
        """One run as a share of the month: what it adds to the bill of somebody who pays the fee anyway and uses it up."""
        return self.machine + self.storage + self.egress

    @property
    def total(self) -> Range:
        """What this run costs if it is the month's only one: the whole fee, and what goes beyond it."""
        beyond = self.machine.map(lambda usd: max(0.0, usd - self.included))
        return beyond + self.fee + self.storage + self.egress

    @property
    def runs_within_fee(self) -> int | None:
        """Runs a month that the fee pays for; None without a fee, or where the hours cost nothing."""
        if not self.fee or not self.machine.likely:
            return None
        return _whole(self.included / self.machine.likely)

    def runs_for(self, usd: float) -> int | None:
        """Likely runs for so many dollars, one month's fee among them; None where a run costs nothing."""
        if usd < self.fee:
            return 0
        if not self.usage.likely:
            return None
        return max(0, _whole((usd - self.fee + self.included) / self.usage.likely))


def cost(work: Work, usd_per_hour: Range, terms: Terms) -> Cost:
    """What the work costs on such terms. Raises NeverDoneError where interruptions or sessions leave no time for it.

    With `k` interruptions an hour, each of which costs `lost` hours, `w` hours of work take `w / (1 - k lost)`: lost time
    is interrupted too. Young, "A first order approximation to the optimum checkpoint interval", 1974.
    """
    interruptions = terms.interruptions or Interruptions(ZERO, ZERO)
    lengths = _each(_Case, work.duration.total, work.lost, interruptions.per_hour, interruptions.wait)
    spans = [case.span(terms.session_hours) for case in lengths]
    busy = Range(*(span.busy for span in spans))
    elapsed = Range(*(span.elapsed for span in spans))
    billed = busy.map(lambda seconds: max(terms.minimum, _up(seconds, terms.billed_by)))
    again = Range(*(span.busy - case.work for span, case in zip(spans, lengths, strict=True)))
    return Cost(
        machine=usd_per_hour * billed * (1 / HOUR),
        repeated=usd_per_hour * again * (1 / HOUR),
        storage=elapsed * ((terms.storage or 0.0) * work.disk_gb / HOUR / HOURS_A_MONTH),
        egress=Range.exact((terms.egress or 0.0) * work.egress_gb),
        elapsed=elapsed,
        sessions=spans[1].sessions,
        fee=terms.monthly_fee,
        included=terms.included,
    )


def against(total: Range, cap: float) -> Verdict:
    """How a cost, or a time, stands to its cap: `may pass` where only the high estimate is over it."""
    if total.likely > cap:
        return "passes"
    return "may pass" if total.high > cap else "within"


@dataclass(frozen=True)
class _Span:
    busy: float
    elapsed: float
    sessions: int


@dataclass(frozen=True)
class _Case:
    """One of low, likely and high, in seconds."""

    work: float
    lost: float
    per_hour: float
    wait: float

    def span(self, session_hours: float | None) -> _Span:
        left = 1 - self.per_hour * self.lost / HOUR
        if left <= 0:
            raise NeverDoneError("it would be interrupted before it has caught up with what the last interruption lost")
        busy = self.work / left
        waiting = self.per_hour * busy / HOUR * self.wait
        sessions = 1 if session_hours is None else self._sessions(busy, session_hours * HOUR)
        busy += (sessions - 1) * self.lost
        return _Span(busy, busy + waiting, sessions)

    def _sessions(self, busy: float, session: float) -> int:
        if busy <= session:
            return 1
        if session <= self.lost:
            raise NeverDoneError("a session ends before the run has caught up with what the last one lost")
        return math.ceil((busy - self.lost) / (session - self.lost))


def _each(make: type[_Case], *ranges: Range) -> list[_Case]:
    return [make(*(getattr(one, bound) for one in ranges)) for bound in ("low", "likely", "high")]


def _up(seconds: float, step: float) -> float:
    """Rounded up to whole steps; a step of nothing rounds nothing."""
    return math.ceil(seconds / step - 1e-9) * step if step > 0 else seconds


def _whole(count: float) -> int:
    """Whole runs; a hair's breadth below one is one."""
    return math.floor(count + 1e-9)
