"""Providers side by side: what a run costs with each, how many usable adapters a budget buys, and whether buying a GPU pays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from lorry.errors import InputError
from lorry.plan.buying import Buying, buying
from lorry.plan.offers import Ranked
from lorry.plan.owning import USD_PER_KWH
from lorry.plan.ranges import Range

_MOST_USD = 1e12
_LEAST_RATE = 1e-6
"""Figures beyond these are mistyped, and would leave no finite numbers."""
_EXAMPLE_USD = 1000.0


@dataclass(frozen=True)
class Yardstick:
    """What providers are measured by. Raises InputError for rates and dollars that cannot be."""

    budget: float | None = None
    """USD."""
    success_rate: float = 1.0
    """The share of runs whose adapter is good enough to use."""
    value: float | None = None
    """USD that a usable adapter is worth."""
    buy: float | None = None
    """USD that a GPU costs which would be bought; None to reckon for every thousand."""

    def __post_init__(self) -> None:
        if not _LEAST_RATE <= self.success_rate <= 1:
            raise InputError(f"a success rate of {self.success_rate:g}", hint="give a share above 0 and up to 1: 0.7")
        for name, usd in (("budget", self.budget), ("value", self.value), ("GPU to buy", self.buy)):
            if usd is not None and not 0 <= usd <= _MOST_USD:
                raise InputError(f"a {name} of {usd:g} dollars", hint="give dollars: 500")


@dataclass(frozen=True)
class Comparison:
    """One provider's best offer for the run; the figures are None where none fits."""

    provider: str
    best: Ranked | None
    """The best that fits; else the one that comes nearest; None where no offer is known."""
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

    @property
    def reason(self) -> str:
        """Why none fits; empty where one does."""
        return "; ".join(self.best.reasons) if self.best else "has no such machine with one GPU whose price is known"


@dataclass(frozen=True)
class SideBySide:
    """All that is compared."""

    by: Yardstick
    rows: tuple[Comparison, ...]
    """This computer, then the providers in the order in which they were named."""
    buying: Buying | None
    """None where nothing that fits is rented by the hour."""


def providers(said: str, known: Sequence[str]) -> list[str]:
    """The providers that a person names, `runpod,vast`, or all that are known for `all`. Raises InputError for other names."""
    names = [name.strip().casefold() for name in said.split(",") if name.strip()]
    if names == ["all"]:
        return list(known)
    if not names:
        raise InputError("no provider to compare", hint=f"name some, or `all`: {','.join(known)}")
    for place, name in enumerate(names):
        if name not in known:
            raise InputError(f"`{name}` is no provider whose prices lorry knows", hint=_meant(name, known))
        if name in names[:place]:
            raise InputError(f"`{name}` is named twice", hint="name each provider once")
    return names


def side_by_side(
    here: Ranked, offers: Sequence[Ranked], names: Sequence[str], by: Yardstick, usd_per_kwh: float = USD_PER_KWH
) -> SideBySide:
    """Puts this computer beside the best offer of each provider, and the GPU of the best of all as a purchase."""
    meant = [one for one in offers if one.offer.provider in names]
    rows = compare([here, *meant], [here.offer.provider, *names], by)
    usd = _EXAMPLE_USD if by.buy is None else by.buy
    return SideBySide(by, tuple(rows), buying(meant, usd, usd_per_kwh))


def compare(ranked: Sequence[Ranked], names: Sequence[str], by: Yardstick) -> list[Comparison]:
    """Each provider once, in the order given; the ranking has the best offers first."""
    return [_compared([one for one in ranked if one.offer.provider == name], name, by) for name in dict.fromkeys(names)]


def _compared(ranked: Sequence[Ranked], provider: str, by: Yardstick) -> Comparison:
    best = next((one for one in ranked if one.fits), None)
    if best is None or best.cost is None:
        return Comparison(provider, _nearest(ranked))
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


def _nearest(unfit: Sequence[Ranked]) -> Ranked | None:
    """The one whose reason tells most: the cheapest that only the recipe's limits exclude, else the one with most memory."""
    limited = [one for one in unfit if one.cost is not None]
    if limited:
        return min(limited, key=lambda one: one.cost.total.likely if one.cost else 0.0)
    return max(unfit, key=lambda one: one.offer.memory, default=None)


def _meant(provider: str, known: Sequence[str]) -> str:
    near = get_close_matches(provider, known, n=1)
    return f"did you mean `{near[0]}`?" if near else f"there are: {', '.join(known)}"
