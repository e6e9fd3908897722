"""A machine that one run has done with goes to the next one that waits for such a machine: nothing is rented or fetched anew.

The machine's deadline stays, for its dead-man switch was armed with it. So a run is given only a machine whose deadline is far
enough for it, and not farther than its own budget goes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from lorry import units
from lorry.compute import market, reap
from lorry.compute.allowance import Allowance
from lorry.compute.control.attempt import Attempt
from lorry.compute.control.renting import Renting
from lorry.compute.control.succession import Candidate
from lorry.compute.needs import CPU, Needs
from lorry.compute.providers._base import Provider
from lorry.errors import LorryError
from lorry.plan.offers import Offer
from lorry.recipe.schema import Recipe
from lorry.track.caps import renting as alone_in_renting
from lorry.track.folder import home
from lorry.track.leases import LeaseRow

UNKNOWN = 1800.0
"""Seconds that must be left for a run of which nobody knows how long it takes."""


@dataclass(frozen=True)
class Offered:
    """A machine that its run has done with."""

    row: LeaseRow
    offer: Offer
    recipe: Recipe
    """Of the run that had it."""
    needs: Needs
    now: float

    @property
    def left(self) -> float:
        """Seconds to its deadline; a host of one's own may have none."""
        return math.inf if self.row.deadline is None else self.row.deadline - self.now


def suits(offered: Offered, candidate: Candidate, allowed: Allowance) -> bool:
    """Whether a run may have a machine: of the same installation, such as it asks for, and for as long as it may be kept."""
    return (
        _is_like(offered.recipe, candidate.recipe)
        and candidate.needs.disk_gb <= offered.needs.disk_gb
        and any(_is_of(offered.row, one) for one in candidate.providers)
        and _is_wanted(offered, candidate)
        and seconds_needed(candidate.needs, offered.offer) <= offered.left <= allowed.seconds
    )


def seconds_needed(needs: Needs, offer: Offer) -> float:
    """Seconds that must be left: what the run takes there if all goes slowly, and a tenth for the way."""
    found = needs.on.get(CPU if offer.gpu is None else offer.gpu.name)
    known = (found.highest or found.seconds) if found else None
    return UNKNOWN if known is None else 1.1 * known + 60


def _is_like(one: Recipe, other: Recipe) -> bool:
    """Whether both want the same image, and the same volume mounted."""
    names = ("image", "template", "volume")
    return all(getattr(one.compute, name) == getattr(other.compute, name) for name in names)


def _is_of(row: LeaseRow, provider: Provider) -> bool:
    """Whether a machine was rented by the same settings, with the same account."""
    return (
        provider.name == row.provider
        and provider.model_dump(mode="json") == row.settings
        and row.account in ("", reap.account(provider))
    )


def _is_wanted(offered: Offered, candidate: Candidate) -> bool:
    """Whether the run would have rented such a machine."""
    if offered.row.provider == "ssh":
        return True
    compute = candidate.recipe.compute
    if compute.interruptible != "prefer" and (compute.interruptible == "only") != offered.row.interruptible:
        return False
    wanted, gpu = market.wanted(compute), offered.offer.gpu
    is_kind = gpu is None if wanted.cpu else gpu is not None and (not wanted.gpus or gpu in wanted.gpus)
    return is_kind and candidate.needs.suits(offered.offer)


async def hand_on(attempt: Attempt, renting: Renting, say_over: Callable[[], object]) -> bool:
    """Gives the machine of a run that has ended well, all of it fetched, to one that waits; whether there was one.

    `say_over` writes down how the run ended; it is called before the machine is another's.
    Between the two the machine's idle limit holds: nothing of a run stands in `~/.lorry` then.
    """
    shared, lease = renting.shared, attempt.lease
    if shared is None:
        return False

    def fits(candidate: Candidate) -> bool:
        offered = Offered(lease.row, attempt.offer, renting.home.recipe, renting.home.needs, renting.clock.now())
        allowed = renting.allowed(attempt.offer, candidate, lease=lease.row)
        return suits(offered, candidate, allowed)

    now = renting.clock.now()
    try:
        if shared.succession.first(fits) is None:
            return False
        await attempt.leave()
        with alone_in_renting(home()):
            candidate = shared.succession.first(fits)
            if candidate is None:  # whoever waited has found a machine meanwhile
                return False
            say_over()
            lease.row = renting.leases.handed(lease.name, now, candidate.run_id)
    except (LorryError, TimeoutError):
        return False
    shared.succession.give(candidate)
    _tell(renting, lease.row, candidate.run_id, now)
    await attempt.clear()
    return True


def _tell(renting: Renting, row: LeaseRow, heir: str, now: float) -> None:
    run = renting.home.id
    seconds, usd = row.seconds_of(run, now), row.usd_of(run, now)
    told = f"{row.described} goes to `{heir}` after {units.duration(seconds)}"
    renting.home.tell("handed", lease=row.name, run=heir, seconds=seconds, usd=usd, message=told)
