"""The receipt of a run: what was rented, for how long, what it cost, and that it has ended."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lorry import plugins, units
from lorry.compute.outcomes import Outcome
from lorry.errors import LorryError, MayBillError
from lorry.track.leases import LeaseRow, Span


@dataclass(frozen=True)
class Item:
    """A machine, as far as this run had it."""

    what: str
    """`runpod community, RTX 4090`."""
    provider: str
    machine_id: str
    lease: str
    begin: float
    end: float
    """Up to now where it has not ended."""
    usd_per_hour: float
    """As rented, its disks included; `usd` counts what it became later."""
    usd: float
    saved_usd: float
    ended_at: float | None
    """When the provider confirmed that it is gone; None where it has not, or where it serves another run now."""
    how: str
    """How it ended, in words; empty where it has not."""


@dataclass(frozen=True)
class Receipt:
    """What a run's machines were, and cost."""

    run_id: str
    items: tuple[Item, ...]
    usd: float
    saved_usd: float
    """What interruptible machines cost less than the same on demand."""
    may_bill: tuple[LeaseRow, ...]
    """Leases of this run that nobody has confirmed to have ended."""
    confirmed_at: float | None
    """When the last machine was confirmed to have ended; None while one has not, and where none was rented."""


def receipt(run_id: str, rows: Sequence[LeaseRow], now: float) -> Receipt:
    """The receipt of a run, from leases of which some may be others'.

    Leases that never had a machine are left out.
    """
    spans = {row.name: [span for span in row.spans(now) if span.run_id == run_id] for row in rows}
    items = tuple(_item(row, spans[row.name]) for row in rows if spans[row.name])
    may_bill = tuple(row for row in rows if row.is_open and row.run_at(now) == run_id)
    ended = [item.ended_at for item in items if item.ended_at is not None]
    return Receipt(
        run_id,
        items,
        usd=math.fsum(item.usd for item in items),
        saved_usd=math.fsum(item.saved_usd for item in items),
        may_bill=may_bill,
        confirmed_at=None if may_bill else max(ended, default=None),
    )


def by_hand(row: LeaseRow) -> str:
    """How a person ends a lease's machine without lorry: a literal command, or the address of a page."""
    from lorry.compute.providers._base import Provider

    try:
        provider = plugins.make("providers", {**row.settings, "name": row.provider})
    except LorryError:
        return f"the console of {row.provider}"
    if not isinstance(provider, Provider):
        return f"the console of {row.provider}"
    if row.machine_id:
        return provider.by_hand(row.machine_id)
    where = f", whose keys are at {provider.key_page}" if provider.key_page else ""
    return f"look for `{row.name}` in the console of {row.provider}{where}"


def may_bill(rows: Sequence[LeaseRow]) -> MayBillError:
    """What a person must know while nobody has confirmed that these machines are gone: each one, and how to end it by hand."""
    told = [_may_bill(row) for row in rows]
    hands = dict.fromkeys(by_hand(row) for row in rows)
    return MayBillError("\n".join(told), hint=f"{'; '.join(hands)}; or `lorry reap`")


def text(given: Receipt, how: Callable[[LeaseRow], str] = by_hand) -> str:
    """The receipt in lines; what may still bill comes first, with the command to end it."""
    warnings = [line for row in given.may_bill for line in _warning(row, how)]
    if not given.items:
        return "\n".join(warnings or ["no machine was rented"])
    lines = [*warnings, *(["" for _ in warnings[:1]]), f"receipt of {given.run_id}", *map(_line, given.items)]
    hours = math.fsum(item.end - item.begin for item in given.items)
    lines.append(f"total {units.money(given.usd)} for {units.duration(hours)}{_saved(given.saved_usd)}")
    if given.confirmed_at is not None:
        every = "the machine has" if len(given.items) == 1 else f"all {len(given.items)} machines have"
        lines.append(f"{every} ended, confirmed at {units.moment(given.confirmed_at)} UTC")
    return "\n".join(lines)


def _may_bill(row: LeaseRow) -> str:
    price = f"{units.money(row.usd_per_hour + row.storage_usd_per_hour)} an hour"
    return (
        f"the machine `{row.machine_id or row.name}` at {row.provider} may still bill {price}: its end is not confirmed"
    )


def _item(row: LeaseRow, spans: Sequence[Span]) -> Item:
    on_demand = row.on_demand_usd_per_hour
    saved = [span.hours * (on_demand - span.usd_per_hour) for span in spans if span.usd_per_hour] if on_demand else []
    is_last = row.ended_at is not None and row.run_at(row.ended_at) == spans[-1].run_id
    return Item(
        what=row.described or row.provider,
        provider=row.provider,
        machine_id=row.machine_id,
        lease=row.name,
        begin=spans[0].start,
        end=spans[-1].end,
        usd_per_hour=row.usd_per_hour + row.storage_usd_per_hour,
        usd=math.fsum(span.usd for span in spans),
        saved_usd=math.fsum(saved),
        ended_at=row.ended_at if is_last else None,
        how=_how(row) if is_last else "",
    )


def _how(row: LeaseRow) -> str:
    known = Outcome.__members__.get(row.outcome)
    return known.value if known else row.outcome


def _line(item: Item) -> str:
    begin, end = units.moment(item.begin), units.moment(item.end)
    until = end[11:] if end[:10] == begin[:10] else end
    price = f"{units.duration(item.end - item.begin)} at {units.money(item.usd_per_hour)}/h: {units.money(item.usd)}"
    return f"  {item.what}, {begin} to {until} UTC, {price}{f', {item.how}' if item.how else ''}"


def _warning(row: LeaseRow, how: Callable[[LeaseRow], str]) -> list[str]:
    what = f"{row.machine_id} ({row.name})" if row.machine_id else f"one called {row.name}"
    price = units.money(
        sum(row.price_at(row.asked_at)) if row.rented_at is None else row.usd_per_hour + row.storage_usd_per_hour
    )
    since = units.moment(row.asked_at if row.rented_at is None else row.rented_at)
    return [
        f"a machine may still bill: {what} at {row.provider}, {price}/h, since {since} UTC",
        f"  end it: `lorry reap`, or by hand: {how(row)}",
    ]


def _saved(usd: float) -> str:
    return f"; interruptible machines saved {units.money(usd)}" if usd >= 0.005 else ""
