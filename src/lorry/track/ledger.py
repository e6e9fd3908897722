"""What rented machines and volumes have cost, by run, provider, month or lease: sums over the leases of the store."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Literal

from lorry.compute.outcomes import Outcome
from lorry.plan.cost import HOURS_A_MONTH
from lorry.track.leases import LeaseRow, Span, VolumeRow

By = Literal["run", "provider", "month", "lease"]
VOLUMES = "volumes"
"""The line of volumes in lists by run: they belong to none."""
_GOOD = frozenset({"", Outcome.FINISHED.name, Outcome.BUDGET.name, Outcome.STOPPED_BY_PERSON.name})
"""How a lease ends where nothing failed."""


@dataclass(frozen=True)
class Line:
    """What one run, provider, month or lease has cost."""

    what: str
    usd: float
    """With disks and volumes, unrounded."""
    hours: float
    """That machines were rented, stopped ones too."""
    attempts: int
    """Leases."""
    saved_usd: float
    """What interruptible machines cost less than the same on demand, while they ran; work that was lost is not taken off.
    Below zero where they cost more."""
    failures: int
    """Leases of a machine that ended otherwise than the run wanted."""
    recoveries: int
    """Losses after which another machine went on."""
    interventions: int
    """Leases that a person ended."""
    open: int
    """Leases that still bill, or may."""
    usd_per_hour: float
    """What bills now: open leases and volumes that are there."""


@dataclass(frozen=True)
class _Bill:
    """A part of what a lease or a volume cost."""

    span: Span
    lease: LeaseRow | None = None
    volume: VolumeRow | None = None
    is_last: bool = True

    def key(self, by: By) -> str:
        if by == "month":
            return f"{datetime.fromtimestamp(self.span.start, UTC):%Y-%m}"
        if self.lease is not None:
            return {"run": self.span.run_id, "provider": self.lease.provider, "lease": self.lease.name}[by]
        assert self.volume is not None  # noqa: S101 - a bill is of either
        return {"run": VOLUMES, "provider": self.volume.provider, "lease": f"volume {self.volume.name}"}[by]

    @property
    def saved_usd(self) -> float:
        """Against the same machine on demand; a stopped one saves nothing."""
        if self.lease is None or self.lease.on_demand_usd_per_hour is None or not self.span.usd_per_hour:
            return 0.0
        return self.span.hours * (self.lease.on_demand_usd_per_hour - self.span.usd_per_hour)

    @property
    def usd_per_hour(self) -> float:
        """What it bills now."""
        is_there = self.lease.is_open if self.lease else self.volume is not None and self.volume.deleted_at is None
        return self.span.usd_per_hour + self.span.storage_usd_per_hour if is_there and self.is_last else 0.0


def costs(rows: Sequence[LeaseRow], volumes: Sequence[VolumeRow], by: By, now: float, since: float = 0.0) -> list[Line]:
    """A line for each run, provider, month (UTC) or lease that cost anything from `since` to now.

    Those that still bill stand first, then the newest, volumes last. Leases that never had a machine are left out.
    """
    groups: dict[str, list[_Bill]] = {}
    for bill in _bills(rows, volumes, now, since):
        groups.setdefault(bill.key(by), []).append(bill)
    lost = _recovered(rows)
    lines = {what: _line(what, bills, lost) for what, bills in groups.items()}

    def order(what: str) -> tuple[bool, bool, float]:
        bills = groups[what]
        is_volumes = all(bill.lease is None for bill in bills)
        return not lines[what].open, is_volumes, -max(bill.span.end for bill in bills)

    return [lines[what] for what in sorted(groups, key=order)]


def total(rows: Sequence[LeaseRow], volumes: Sequence[VolumeRow], now: float, since: float = 0.0) -> Line:
    """The same as one line, in which each lease counts once."""
    return _line("total", list(_bills(rows, volumes, now, since)), _recovered(rows))


def volume_usd_per_hour(volume: VolumeRow) -> float:
    """USD an hour of a volume; 0 where its price is not known."""
    return (volume.usd_per_month or 0.0) / HOURS_A_MONTH


def month_start(at: float) -> float:
    """When the month (UTC) that a time is in began."""
    day = datetime.fromtimestamp(at, UTC)
    return datetime(day.year, day.month, 1, tzinfo=UTC).timestamp()


def next_month(at: float) -> float:
    """When the month (UTC) after that of a time begins."""
    return month_start(month_start(at) + 32 * 86400)


def _line(what: str, bills: Sequence[_Bill], recovered: frozenset[str]) -> Line:
    leases = {bill.lease.name: bill.lease for bill in bills if bill.lease}
    ended = [bill.lease for bill in bills if bill.lease and bill.is_last and not bill.lease.is_open]
    person = Outcome.STOPPED_BY_PERSON.name
    return Line(
        what=what,
        usd=math.fsum(bill.span.usd for bill in bills),
        hours=math.fsum(bill.span.hours for bill in bills if bill.lease),
        attempts=len(leases),
        saved_usd=math.fsum(bill.saved_usd for bill in bills),
        failures=sum(lease.outcome not in _GOOD for lease in ended),
        recoveries=sum(lease.name in recovered for lease in ended),
        interventions=sum(lease.outcome == person for lease in ended),
        open=sum(lease.is_open for lease in leases.values()),
        usd_per_hour=math.fsum(bill.usd_per_hour for bill in bills),
    )


def _recovered(rows: Sequence[LeaseRow]) -> frozenset[str]:
    """Names of leases that failed, and after which their run trained on another machine."""
    trained: dict[str, float] = {}
    for row in rows:
        if row.ready_at is not None:
            run = row.run_at(row.ready_at)
            trained[run] = max(row.asked_at, trained.get(run, row.asked_at))
    failed = [row for row in rows if row.ended_at is not None and row.outcome not in _GOOD]
    never = float("-inf")
    return frozenset(row.name for row in failed if trained.get(row.run_at(row.ended_at or 0.0), never) > row.asked_at)


def _bills(rows: Iterable[LeaseRow], volumes: Iterable[VolumeRow], now: float, since: float) -> Iterator[_Bill]:
    """Every part of what was billed from `since` on, cut where a price, a run or a month changes."""
    for row in rows:
        spans = row.spans(now)
        if not spans and row.is_open:  # asked for, and not known whether there is a machine
            spans = [Span(row.asked_at, row.asked_at, row.run_id, *row.price_at(row.asked_at))]
        cut = _cut(spans, 0.0 if row.is_open and row.rented_at is None else since)
        for number, span in enumerate(cut):
            yield _Bill(span, lease=row, is_last=number == len(cut) - 1)
    for volume in volumes:
        end = max(volume.created_at, now if volume.deleted_at is None else min(now, volume.deleted_at))
        cut = _cut([Span(volume.created_at, end, "", 0.0, volume_usd_per_hour(volume))], since)
        for number, span in enumerate(cut):
            yield _Bill(span, volume=volume, is_last=number == len(cut) - 1)


def _cut(spans: Sequence[Span], since: float) -> list[Span]:
    """Spans from `since` on, cut where months change."""
    found: list[Span] = []
    for span in spans:
        start = max(span.start, since)
        if start > span.end or (start == span.end and span.start < span.end):
            continue
        edges = [start]
        while (edge := next_month(edges[-1])) < span.end:
            edges.append(edge)
        found += [replace(span, start=one, end=until) for one, until in pairwise([*edges, span.end])]
    return found
