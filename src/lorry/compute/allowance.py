"""How long a machine may be kept: what budget and caps leave, as one deadline that three places hold. Pure.

The controller ends the machine at the deadline; the agent stops training some time before, so that the adapter is scored and
fetched; the dead-man switch on the machine ends it at the deadline when nobody else does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from lorry import units
from lorry.errors import RefusedError
from lorry.recipe.schema import BudgetSettings
from lorry.track.room import Room, seconds_left, tightest

UNLIMITED = 24 * 3600.0
"""Seconds after which a machine is given back although nobody set a limit, or three times the longest that was planned."""
_FEWEST, _MOST, _SHARE = 30.0, 240.0, 0.05
"""Seconds that are kept for fetching and ending: a share of all, within these. The dead-man switch asks the agent to end 20 s
before the deadline: training that ends by itself has to end before."""


@dataclass(frozen=True)
class Allowance:
    """How long a machine may be there from the moment that it bills."""

    seconds: float
    why: str
    """Which limit that is, in words."""

    @property
    def margin(self) -> float:
        """Seconds before the end in which training no longer goes on: the adapter is fetched, the machine ended."""
        return min(_MOST, max(_FEWEST, _SHARE * self.seconds), self.seconds / 3)


def allowance(room: Room, usd_per_hour: float, *, highest: float | None = None, bills: bool = True) -> Allowance:
    """The seconds that a machine at this price, its disks included, may take of what budget and caps leave.

    Where nothing limits it, a day, or three times `highest`: the most seconds that the run was planned to take. A machine that
    is one's own has no limit then.
    """
    left = seconds_left(room, usd_per_hour)
    without = max(UNLIMITED, 3 * (highest or 0.0)) if bills else math.inf
    if left > without:
        return Allowance(without, f"no limit is set: {units.duration(without)} at most")
    return Allowance(left, tightest(room, usd_per_hour) or room.why or "no limit is set")


def on_machine(
    budget: BudgetSettings, allowed: Allowance, usd_per_hour: float, before: float, gone: float
) -> BudgetSettings:
    """The budget as the agent holds it: in seconds that the run has been worked on, `before` of them on other machines.

    `gone` are the seconds of this machine that were billed before training began.
    """
    price = budget.price_per_hour or usd_per_hour
    if math.isinf(allowed.seconds):
        return BudgetSettings(price_per_hour=price, overrun=budget.overrun)
    seconds = before + max(1.0, allowed.seconds - allowed.margin - gone)
    usd = price * seconds / 3600 if budget.usd is not None and price else None
    return BudgetSettings(usd=usd, hours=seconds / 3600, price_per_hour=price, overrun=budget.overrun)


def refuse_too_little(allowed: Allowance, usd_per_hour: float, least: float = 3600.0) -> None:
    """Raises RefusedError where a machine could not be kept for `least` seconds: most of that would go into starting it."""
    if allowed.seconds >= least:
        return
    needed = units.money(usd_per_hour * least / 3600)
    told = f"{allowed.why} leaves {units.duration(allowed.seconds)} of the cheapest machine that fits"
    hint = f"its first {units.duration(least)} cost {needed}: raise the limit (`-o budget.usd=...`, `lorry costs cap`)"
    raise RefusedError(told, place="budget", hint=hint)
