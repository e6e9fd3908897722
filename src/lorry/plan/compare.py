"""Providers side by side: what a run costs with each, and how many usable adapters a budget buys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from lorry.errors import InputError
from lorry.plan.offers import Ranked, best_of
from lorry.plan.ranges import Range


@dataclass(frozen=True)
class Yardstick:
    """What providers are measured by. Raises InputError for rates and dollars that cannot be."""

    budget: float | None = None
    """USD."""
    success_rate: float = 1.0
    """The share of runs whose adapter is good enough to use."""
    value: float | None = None
    """USD that a usable adapter is worth."""

    def __post_init__(self) -> None:
        if not 0 < self.success_rate <= 1:
            raise InputError(f"a success rate of {self.success_rate:g}", hint="give a share above 0 and up to 1: 0.7")
        for name, usd in (("budget", self.budget), ("value", self.value)):
            if usd is not None and not 0 <= usd < float("inf"):
                raise InputError(f"a {name} of {usd:g} dollars", hint="give dollars: 500")


@dataclass(frozen=True)
class Comparison:
    """One provider's best offer for the run; the figures are None where none fits."""

    provider: str
    best: Ranked | None
    """The best that fits; else the least unfit; None where nothing is known of the provider's prices."""
    per_run: Range | None = None
    """USD of a run that uses the monthly fee up, where there is one."""
    alone: Range | None = None
    """USD of a run that is the month's only one."""
    runs: int | None = None
    """For the budget; None without one, and where runs cost nothing."""
    per_adapter: Range | None = None
    """USD for each usable adapter."""
    gain: Range | None = None
    """USD that a usable adapter is worth beyond its cost; None where no value was given."""

    @property
    def fits(self) -> bool:
        """Whether the provider has an offer that fits."""
        return self.best is not None and self.best.fits


def compare(ranked: Sequence[Ranked], providers: Sequence[str], by: Yardstick) -> list[Comparison]:
    """Each provider once, in the order given. Raises InputError for one that the ranking does not have."""
    known = sorted({one.offer.provider for one in ranked})
    for provider in providers:
        if provider not in known:
            raise InputError(f"`{provider}` is no provider whose prices lorry knows", hint=_meant(provider, known))
    return [_compared(ranked, provider, by) for provider in dict.fromkeys(providers)]


def _compared(ranked: Sequence[Ranked], provider: str, by: Yardstick) -> Comparison:
    best = best_of(ranked, provider)
    if best is None or not best.fits or best.cost is None:
        return Comparison(provider, best)
    adapter = best.cost.usage * (1 / by.success_rate)
    return Comparison(
        provider,
        best,
        per_run=best.cost.usage,
        alone=best.cost.total,
        runs=None if by.budget is None else best.cost.runs_for(by.budget),
        per_adapter=adapter,
        gain=None if by.value is None else adapter.taken_from(by.value),
    )


def _meant(provider: str, known: Sequence[str]) -> str:
    near = get_close_matches(provider, known, n=1)
    return f"did you mean `{near[0]}`?" if near else f"there are: {', '.join(known)}"
