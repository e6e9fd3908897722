"""How a comparison of providers looks on the command line: a row each, what is left to do by hand, buying against renting."""

from __future__ import annotations

from lorry import units
from lorry.cli import output
from lorry.plan.buying import Buying
from lorry.plan.compare import Comparison, SideBySide, Yardstick
from lorry.plan.offers import Offer
from lorry.plan.ranges import Range
from lorry.plan.words import price

_HOURS_A_YEAR = 8766
_NOTHING = "-"


def show(found: SideBySide) -> None:
    """Prints the table, what each provider leaves to the person, and after how many hours buying has paid."""
    output.table(_columns(found.by), [_cells(one, found.by) for one in found.rows], fold=False)
    output.data("")
    for one in found.rows:
        by_hand = one.best.offer.by_hand if one.best and one.fits else ""
        if by_hand:
            output.pieces([("By hand   ", "dim"), (f"{one.provider}: {by_hand}", "")])
    if found.buying:
        output.pieces([("Buying    ", "dim"), (_bought(found.buying, found.by), "")])
    output.data("")


def _columns(by: Yardstick) -> list[output.Column]:
    budget = (
        [output.Column(f"runs for {units.money(by.budget).removesuffix('.00')}", right=True)]
        if by.budget is not None
        else []
    )
    gain = [output.Column("gain", right=True)] if by.value is not None else []
    return [
        output.Column("provider"),
        output.Column("best offer"),
        output.Column("price"),
        output.Column("time", right=True),
        output.Column("cost of a run", right=True),
        output.Column("from - to", right=True),
        *budget,
        output.Column("usable adapter", right=True),
        *gain,
        output.Column("interruptible"),
        output.Column("note"),
    ]


def _cells(one: Comparison, by: Yardstick) -> list[str]:
    runs = [] if by.budget is None else [units.count(one.runs) if one.runs is not None else _NOTHING]
    gain = [] if by.value is None else [_likely(one.gain)]
    if one.best is None or one.best.cost is None or one.per_run is None or not one.fits:
        figures = len(runs) + len(gain)
        offer = _machine(one.best.offer) if one.best else _NOTHING
        paid = price(one.best.offer) if one.best else _NOTHING
        return [one.provider, offer, paid, *[_NOTHING] * (5 + figures), f"nothing fits: {one.reason}"]
    offer, per_run = one.best.offer, one.per_run
    return [
        one.provider,
        _machine(offer),
        price(offer),
        units.duration(one.best.cost.elapsed.likely),
        units.cents(per_run.likely),
        f"{units.cents(per_run.low)} - {units.cents(per_run.high)}",
        *(["any" if one.runs is None else runs[0]] if runs else []),
        _likely(one.per_adapter),
        *gain,
        "yes" if offer.interruptible else "no",
        _note(one),
    ]


def _machine(offer: Offer) -> str:
    return offer.name.removeprefix(offer.provider).lstrip(" ,")


def _likely(usd: Range | None) -> str:
    return units.cents(usd.likely) if usd else _NOTHING


def _note(one: Comparison) -> str:
    """Warnings of the best offer; and, where a fee is paid by the month, what a single run of that month costs."""
    assert one.best is not None  # noqa: S101 - only what fits is noted
    alone = one.best.cost.fee if one.best.cost else 0.0
    fee = f"{units.money(one.alone.likely)} for the month's only run" if alone and one.alone else ""
    return "; ".join(filter(None, [fee, *one.best.warnings])) or _NOTHING


def _bought(found: Buying, by: Yardstick) -> str:
    gpu, rented = found.gpu.name, found.rented
    renting = f"renting it ({rented.name}, {price(rented)})"
    power = f"electricity at {units.cents(found.purchase.per_hour)}/h"
    if found.hours is None:
        return f"{gpu}: never pays; {renting} costs no more than its {power}"
    after = (
        f"after {units.count(found.hours)} hours of training ({found.hours / _HOURS_A_YEAR:.1f} years day and night)"
    )
    paid = (
        f"each {units.money(found.purchase.usd)} of its price has"
        if by.buy is None
        else f"for {units.money(by.buy)} it has"
    )
    return f"{gpu}: {paid} cost no more than {renting} {after}, {power} counted"
