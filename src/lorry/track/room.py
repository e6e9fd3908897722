"""What may still be spent under the caps, and for how long a machine of a price may run; pure.

An open lease counts up to its deadline from the moment it is written down, so that what is allowed to several at once, added
up, passes no cap. Volumes count for as long as they are there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from lorry import units
from lorry.track.caps import Cap, Caps
from lorry.track.leases import LeaseRow, VolumeRow
from lorry.track.ledger import month_start, next_month, volume_usd_per_hour

_DAY = 86400.0
_MOST_WINDOWS = 800
"""Days or months that are looked ahead; no machine is let run for longer than that."""


@dataclass(frozen=True)
class Asking:
    """Who wants to spend."""

    run_id: str = ""
    provider: str = ""
    """Of the machine that would be rented, or is: its account's cap counts."""
    lease: str = ""
    """The name of the machine that runs already and asks how long it may go on: it counts up to now only."""
    budget: Cap = Cap()  # noqa: RUF009 - a frozen value
    """Of the run, over all its attempts."""


NOBODY = Asking()


@dataclass(frozen=True)
class _Use:
    """Something that is spent at one rate over a time; `end` is infinite where nobody knows when it ends."""

    start: float
    end: float
    per_hour: float

    def within(self, start: float, end: float) -> float:
        return self.per_hour * max(0.0, min(self.end, end) - max(self.start, start)) / 3600


@dataclass(frozen=True)
class _Limit:
    """A cap on what is used in each day, each month, or ever."""

    what: str
    most: float
    each: Literal["day", "month", "ever"]
    uses: tuple[_Use, ...]

    def left(self, start: float, end: float, now: float) -> float:
        """What may still be used in a window. Uses without an end count, where the window has none, until others have ended."""
        until = self.settled(now) if math.isinf(end) else end
        return max(0.0, self.most - math.fsum(use.within(start, until) for use in self.uses))

    def settled(self, now: float) -> float:
        """When the last change comes that is known now; what goes on then goes on for ever."""
        return max([now, *(time for use in self.uses for time in (use.start, use.end) if math.isfinite(time))])

    def windows(self, now: float) -> Iterator[tuple[float, float]]:
        """The window that now is in, and those that follow."""
        if self.each == "ever":
            yield float("-inf"), float("inf")
            return
        start = now - now % _DAY if self.each == "day" else month_start(now)
        for _ in range(_MOST_WINDOWS):
            end = start + _DAY if self.each == "day" else next_month(start)
            yield start, end
            start = end

    def lasts(self, per_hour: float, now: float) -> float:
        """Seconds from now for which something may be used at a rate; infinite where the cap is never reached."""
        if per_hour <= 0:
            return math.inf
        settled, end = self.settled(now), now
        for start, end in self.windows(now):
            begins, left = max(start, now), self.left(start, end, now)
            if math.isinf(end):
                return self._lasts_ever(per_hour, left, settled - now)
            if begins + 3600 * left / per_hour < end:
                return begins + 3600 * left / per_hour - now
            if start >= settled:  # a whole window like all that follow
                return math.inf
        return end - now

    def _lasts_ever(self, per_hour: float, left: float, settles: float) -> float:
        """The same without windows: what has no end is counted already until the rest has settled, and goes on then."""
        endless = math.fsum(use.per_hour for use in self.uses if math.isinf(use.end))
        if 3600 * left / per_hour <= settles:
            return 3600 * left / per_hour
        return settles + 3600 * (left - per_hour * settles / 3600) / (per_hour + endless)


@dataclass(frozen=True)
class Room:
    """What may still be spent from now on."""

    usd: float
    """In the current day and month, with this provider and by this run; infinite where nothing limits it, never negative."""
    why: str
    """Which cap leaves so little, in words; empty where none limits it."""
    now: float
    money: tuple[_Limit, ...] = ()
    time: tuple[_Limit, ...] = ()


def room(
    caps: Caps, rows: Sequence[LeaseRow], volumes: Sequence[VolumeRow], now: float, asking: Asking = NOBODY
) -> Room:
    """What may still be spent, after what open leases will cost up to their deadlines.

    `rows` are all leases of the month and, where an account's or a run's cap is to be kept, of its whole past. Hold
    `caps.renting` from here until the new lease, with its deadline, is in the store.
    """
    money = tuple(_money(caps, rows, volumes, now, asking))
    time = tuple(_time(caps, rows, now, asking))
    found = [(limit.left(*next(limit.windows(now)), now), limit) for limit in money]
    usd, tightest = min(found, key=lambda one: one[0], default=(math.inf, None))
    spent = [limit for limit in time if limit.left(*next(limit.windows(now)), now) <= 0]
    if spent:
        return Room(0.0, f"{spent[0].what} is used up", now, money, time)
    return Room(usd, f"{tightest.what} leaves {units.money(_floor(usd))}" if tightest else "", now, money, time)


def seconds_left(room: Room, usd_per_hour: float) -> float:
    """Seconds from now for which a machine of this price, its disks included, may run without passing any cap.

    A cap of a day or month is looked at for each day or month that it would run in. Infinite where no cap is ever reached.
    """
    return min((seconds for seconds, _ in _each(room, usd_per_hour)), default=math.inf)


def tightest(room: Room, usd_per_hour: float) -> str:
    """The cap that ends a machine of this price first, in words: `the cap of $20.00 a day`; empty where none ever does."""
    seconds, what = min(_each(room, usd_per_hour), default=(math.inf, ""))
    return what if math.isfinite(seconds) else ""


def _each(room: Room, usd_per_hour: float) -> list[tuple[float, str]]:
    money = [(limit.lasts(usd_per_hour, room.now), limit.what) for limit in room.money]
    return [*money, *((limit.lasts(1.0, room.now), limit.what) for limit in room.time)]


def _money(
    caps: Caps, rows: Sequence[LeaseRow], volumes: Sequence[VolumeRow], now: float, asking: Asking
) -> Iterator[_Limit]:
    kept = [_Use(one.created_at, one.deleted_at or math.inf, volume_usd_per_hour(one)) for one in volumes]
    every = (*(use for row in rows for use in _usd(row, now, asking)), *kept)
    if caps.day.usd is not None:
        yield _Limit(f"the cap of {units.money(caps.day.usd)} a day", caps.day.usd, "day", every)
    if caps.month.usd is not None:
        yield _Limit(f"the cap of {units.money(caps.month.usd)} a month", caps.month.usd, "month", every)
    account = caps.accounts.get(asking.provider, Cap())
    if account.usd is not None:
        there = [use for row in rows if row.provider == asking.provider for use in _usd(row, now, asking)]
        there += [use for use, one in zip(kept, volumes, strict=True) if one.provider == asking.provider]
        what = f"the cap of {units.money(account.usd)} with {asking.provider}"
        yield _Limit(what, account.usd, "ever", tuple(there))
    if asking.budget.usd is not None:
        own = tuple(use for row in rows for use in _usd(row, now, asking, asking.run_id))
        yield _Limit(f"the run's budget of {units.money(asking.budget.usd)}", asking.budget.usd, "ever", own)


def _time(caps: Caps, rows: Sequence[LeaseRow], now: float, asking: Asking) -> Iterator[_Limit]:
    every = tuple(use for row in rows for use in _hours(row, now, asking))
    if caps.day.hours is not None:
        yield _Limit(f"the cap of {caps.day.hours:g} hours a day", caps.day.hours, "day", every)
    if caps.month.hours is not None:
        yield _Limit(f"the cap of {caps.month.hours:g} hours a month", caps.month.hours, "month", every)
    account = caps.accounts.get(asking.provider, Cap())
    if account.hours is not None:
        there = tuple(use for row in rows if row.provider == asking.provider for use in _hours(row, now, asking))
        yield _Limit(f"the cap of {account.hours:g} hours with {asking.provider}", account.hours, "ever", there)
    if asking.budget.hours is not None:
        own = tuple(use for row in rows for use in _hours(row, now, asking, asking.run_id))
        yield _Limit(f"the run's budget of {asking.budget.hours:g} hours", asking.budget.hours, "ever", own)


def _usd(row: LeaseRow, now: float, asking: Asking, run_id: str | None = None) -> list[_Use]:
    """What a lease has cost, and will: a stopped machine may be started again, at its full price."""
    spans = [span for span in row.spans(now) if run_id in (None, span.run_id)]
    past = [_Use(span.start, span.end, span.usd_per_hour + span.storage_usd_per_hour) for span in spans]
    return past + _future(row, now, asking, row.most_at(now), run_id)


def _hours(row: LeaseRow, now: float, asking: Asking, run_id: str | None = None) -> list[_Use]:
    spans = [span for span in row.spans(now) if run_id in (None, span.run_id)]
    return [_Use(span.start, span.end, 1.0) for span in spans] + _future(row, now, asking, 1.0, run_id)


def _future(row: LeaseRow, now: float, asking: Asking, per_hour: float, run_id: str | None) -> list[_Use]:
    """What is promised to an open lease; one that was only asked for may bill since then."""
    if not row.is_open or (run_id is not None and row.run_at(now) != run_id):
        return []
    begins = min(now, row.asked_at) if row.rented_at is None else now
    ends = now if row.name == asking.lease else math.inf if row.deadline is None else max(now, row.deadline)
    return [_Use(begins, ends, per_hour)] if ends > begins else []


def _floor(usd: float) -> float:
    """Down to the cent: more than there is must not be said."""
    return math.floor(usd * 100) / 100
