"""Offers as of now in place of the price list's, and what a budget has to pay at least; pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from lorry import units
from lorry.errors import RefusedError
from lorry.plan.offers import Offer


@dataclass(frozen=True)
class Live:
    """Offers to plan with, and where they are from."""

    offers: list[Offer]
    """As of now of the providers that answered, as the price list has them of all others."""
    now: list[Offer] = field(default_factory=list[Offer])
    """Those that are to be had now; what some have is seen only when a run starts."""
    notes: list[str] = field(default_factory=list[str])
    """Of each provider that was meant: which of the two it is, and why."""

    @property
    def where(self) -> dict[str, Any]:
        """Where the offers are from, for programs; empty where all are of the price list and nobody asked for more."""
        return {"now": sorted({offer.provider for offer in self.now}), "notes": self.notes} if self.notes else {}


def merged(listed: Iterable[Offer], now: Sequence[Offer], answered: Collection[str], notes: Sequence[str]) -> Live:
    """The price list without those who answered, and what they have, save where its hardware is not known yet."""
    kept = [offer for offer in listed if offer.provider not in answered]
    return Live([*kept, *(offer for offer in now if offer.gpu is not None)], [*now], [*notes])


def within_budget(offers: Sequence[Offer], usd: float | None) -> None:
    """Raises RefusedError where the budget does not pay the cheapest offer's first hour."""
    cheapest = min(offers, key=lambda offer: offer.usd_per_hour.likely, default=None)
    if cheapest is None or usd is None or cheapest.usd_per_hour.likely <= usd:
        return
    first = units.cents(cheapest.usd_per_hour.likely)
    message = (
        f"the budget of {units.cents(usd)} is less than the first hour of the cheapest offer: {cheapest.name}, {first}"
    )
    raise RefusedError(message, place="budget.usd", hint=f"raise it to {first} or more, or allow other GPUs")
