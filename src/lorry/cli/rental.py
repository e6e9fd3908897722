"""Before the first rental: what is to be had now, what the run will cost there at most, and whether the person wants that."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from lorry import job, plugins, units
from lorry.cli import output, planned
from lorry.cli.outcome import View, says_yes
from lorry.cli.watching import follow_rented
from lorry.compute import market, needs
from lorry.compute.allowance import Allowance, allowance, refuse_too_little
from lorry.compute.needs import Needs
from lorry.compute.providers._base import Provider
from lorry.compute.renting import LEAST
from lorry.errors import RefusedError
from lorry.job import Wish
from lorry.plan.offers import Offer
from lorry.plan.plan import Plan, make_plan
from lorry.plan.plan_json import plan_json
from lorry.plan.subject import Subject
from lorry.track.caps import Cap, caps
from lorry.track.folder import home
from lorry.track.leases import Leases
from lorry.track.room import Asking, room


@dataclass(frozen=True)
class Terms:
    """How a rental is asked for."""

    yes: bool = False
    """Whether the person has said yes to what it costs before."""
    dry_run: bool = False
    as_json: bool = False


@dataclass(frozen=True)
class _Best:
    """The offer that is tried first."""

    offer: Offer
    allowed: Allowance
    seconds: float | None
    usd: float | None


def run(wish: Wish, terms: Terms) -> int:
    """From a recipe that names who rents to a tested adapter. Refuses whatever can be refused before anything is rented."""
    plan = agreed(wish, terms)
    if terms.dry_run:
        return plan.exit_code if plan else 0
    if plan is None:
        output.note("nothing was rented")
        return 0
    view = View(told=plan.warnings, as_json=terms.as_json)
    follow_rented(lambda watch: job.train_as_planned(wish, plan, watch), view)
    return 0


def agreed(wish: Wish, terms: Terms) -> Plan | None:
    """The plan, once it is shown and the person wants what it costs; None where not. A dry run asks nothing.

    Refuses whatever can be refused before anything is rented.
    """
    plan, offers, asked = _looked(wish)
    if not terms.dry_run:
        job.refuse_errors(plan)
    if not terms.as_json:
        planned.show(plan)
    elif terms.dry_run:
        output.emit_json(plan_json(plan))
    if terms.dry_run:
        return plan
    return plan if _agrees(wish, _best(wish, asked, offers), terms) else None


def _looked(wish: Wish) -> tuple[Plan, list[Offer], Needs]:
    """The plan on what is to be had now. Raises what speaks against renting any of it."""
    output.live("asking what is to be had now ..." if output.stderr_is_live() else "")
    compute = wish.recipe.compute
    providers = market.providers(compute.on)
    offers = asyncio.run(_offers(wish, providers))
    output.live("checking the recipe, its model and its rows ..." if output.stderr_is_live() else "")
    subject = Subject.of(wish.loaded, wish.recipe)
    plan = make_plan(subject, [offer for offer in offers if offer.gpu is not None])
    output.live("")
    return plan, offers, needs.needs_of(plan.subject) if plan.exit_code == 0 else Needs()


async def _offers(wish: Wish, providers: Sequence[Provider]) -> list[Offer]:
    compute = wish.recipe.compute
    try:
        volume = (await market.volume_of(providers, compute.volume))[1].id if compute.volume else ""
        found = await market.survey(providers, market.wanted(compute, volume=volume), wish.recipe.budget.usd)
    finally:
        await asyncio.gather(*(provider.close() for provider in providers), return_exceptions=True)
    return [one.offer for one in found.listed]


def _best(wish: Wish, asked: Needs, offers: Sequence[Offer]) -> _Best | None:
    """What is tried first, and for how long it may be kept; None where nothing is to be had now and the run waits for it."""
    fitting = needs.chosen(asked, offers)
    if not fitting:
        if wish.recipe.compute.wait_hours:
            return None
        names = " and ".join(str(one["name"]) for one in wish.recipe.compute.on)
        hint = "set `compute.wait_hours`, allow more GPUs in `compute.gpu`, or name another provider in `compute.on`"
        raise RefusedError(f"{names} has no machine now on which the run fits", place="compute", hint=hint)
    offer = fitting[0]
    budget = wish.recipe.budget
    asking = Asking("", offer.provider, budget=Cap(usd=budget.usd, hours=budget.hours))
    leases = Leases.open()
    left = room(caps(home()), leases.since(), leases.volumes(), time.time(), asking)
    allowed = allowance(left, offer.usd_per_hour.likely, highest=asked.seconds(offer))
    refuse_too_little(allowed, offer.usd_per_hour.likely, LEAST)
    return _Best(offer, allowed, asked.seconds(offer), asked.usd(offer))


def _agrees(wish: Wish, best: _Best | None, terms: Terms) -> bool:
    """Whether the person wants what it costs; a machine that costs nothing needs no word."""
    if best is None:
        told = f"nothing is to be had now; wait up to {wish.recipe.compute.wait_hours:g} hours, and rent what comes?"
    elif not best.offer.usd_per_hour.likely:
        return True
    else:
        told = _priced(best)
    if terms.yes:
        output.note(told)
        return True
    if not output.can_ask():
        raise RefusedError(f"renting costs money, and nobody is here to be asked: {told}", hint="say so: `--yes`")
    return says_yes(output.ask(f"{told} start it?", default="yes"))


def _priced(best: _Best) -> str:
    """What is rented, at what price, what it is likely to cost, and what it can cost at most."""
    offer, price = best.offer, best.offer.usd_per_hour.likely
    likely = ""
    if best.usd is not None and best.seconds is not None:
        likely = f", about {units.money(best.usd)} in {units.duration(best.seconds)}"
    most = units.money(price * best.allowed.seconds / 3600)
    alone = _only_a_live_controller(offer)
    held = f"at most {most}: {best.allowed.why}, held by the machine itself too" if not alone else f"at most {most}"
    return f"{offer.name} at {units.money(price)} an hour{likely}; {held}{alone};"


def _only_a_live_controller(offer: Offer) -> str:
    provider = plugins.find("providers", offer.provider)
    capabilities = getattr(provider, "capabilities", None)
    if capabilities is None or capabilities.self_ending != "none" or not capabilities.bills:
        return ""
    return f", and only while this computer runs: a machine of {offer.provider} cannot end itself"
