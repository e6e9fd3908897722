"""Providers side by side, in words: the cells of a table, what is left to do by hand, and buying against renting."""

from __future__ import annotations

from lorry import units
from lorry.plan.buying import Buying
from lorry.plan.compare import Comparison, SideBySide, Yardstick
from lorry.plan.offers import Offer
from lorry.plan.ranges import Range
from lorry.plan.words import price

_DAY, _YEAR = 24, 8766
"""Hours."""
_NOTHING = "-"


def titles(by: Yardstick) -> list[tuple[str, bool]]:
    """The table's columns, each with whether it holds figures."""
    budget = [(f"runs for {_whole(by.budget)}", True)] if by.budget is not None else []
    gain = [("gain", True)] if by.value is not None else []
    texts = [("provider", False), ("best offer", False), ("price", False)]
    figures = [("time", True), ("cost of a run", True), ("from - to", True), *budget, ("usable adapter", True), *gain]
    return [*texts, *figures, ("interruptible", False), ("note", False)]


def cells(one: Comparison, by: Yardstick) -> list[str]:
    """A provider's row, under `titles`; where nothing fits its note says why."""
    paid = [one.provider, _machine(one.best.offer), price(one.best.offer)] if one.best else [one.provider, *"--"]
    if one.best is None or one.best.cost is None or one.per_run is None:
        empty = len(titles(by)) - len(paid) - 1
        return [*paid, *[_NOTHING] * empty, f"nothing fits: {one.reason}"]
    runs = [] if by.budget is None else ["any" if one.runs is None else units.count(one.runs)]
    gain = [] if by.value is None else [_likely(one.gain)]
    return [
        *paid,
        units.duration(one.best.cost.elapsed.likely),
        units.cents(one.per_run.likely),
        f"{units.cents(one.per_run.low)} - {units.cents(one.per_run.high)}",
        *runs,
        _likely(one.per_adapter),
        *gain,
        "yes" if one.best.offer.interruptible else "no",
        "; ".join([*_fee(one), *one.best.warnings]) or _NOTHING,
    ]


def by_hand(found: SideBySide) -> dict[str, str]:
    """What each provider of which something fits leaves to the person."""
    kept = {one.provider: one.best.offer.by_hand for one in found.rows if one.best and one.fits}
    return {provider: text for provider, text in kept.items() if text}


def bought(found: Buying, by: Yardstick) -> str:
    """After how many hours of training the GPU has paid for itself, and against what."""
    renting = f"renting it ({found.rented.name}, {price(found.rented)})"
    power = f"electricity at {units.cents(found.purchase.per_hour)}/h"
    if found.hours is None:
        return f"{found.gpu.name}: never pays; {renting} costs no more than its {power}"
    after = f"after {units.count(found.hours)} hours of training ({_ceaseless(found.hours)} day and night)"
    paid = f"each {_whole(found.purchase.usd)} of its price is" if by.buy is None else f"{_whole(by.buy)} are"
    return f"{found.gpu.name}: {paid} earned back {after}, against {renting}, with {power}"


def _machine(offer: Offer) -> str:
    return offer.name.removeprefix(offer.provider).lstrip(" ,")


def _likely(usd: Range | None) -> str:
    return units.cents(usd.likely) if usd else _NOTHING


def _fee(one: Comparison) -> list[str]:
    """Where a fee is paid by the month, what a single run of that month costs."""
    has_fee = one.best is not None and one.best.cost is not None and one.best.cost.fee > 0
    return [f"{units.money(one.alone.likely)} for the month's only run"] if has_fee and one.alone else []


def _whole(usd: float) -> str:
    return units.money(usd).removesuffix(".00")


def _ceaseless(hours: float) -> str:
    return f"{hours / _YEAR:.1f} years" if hours >= _YEAR else f"{hours / _DAY:.0f} days"
