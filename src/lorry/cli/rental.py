"""Before the first rental: what is to be had now, what the run will cost there at most, and whether the person wants that."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from lorry import job, plugins, resuming, units
from lorry.cli import output, planned
from lorry.cli.outcome import View, says_yes
from lorry.cli.terms import Terms
from lorry.cli.watching import attach, follow_rented
from lorry.compute import hosts, market, needs
from lorry.compute.allowance import Allowance, allowance, refuse_too_little
from lorry.compute.control import copies
from lorry.compute.control.renting import LEAST, price_of
from lorry.compute.machine import cloning
from lorry.compute.needs import Needs
from lorry.compute.providers._base import Capabilities, Provider
from lorry.errors import RefusedError
from lorry.job import Wish
from lorry.plan.offers import Offer
from lorry.plan.plan import Plan, make_plan
from lorry.plan.plan_json import plan_json
from lorry.plan.subject import Subject
from lorry.recipe.schema import Recipe
from lorry.resuming import Continuation
from lorry.track.caps import Cap, caps
from lorry.track.folder import RunFolder, home
from lorry.track.leases import Leases
from lorry.track.room import Asking, room
from lorry.track.store import RunRow


@dataclass(frozen=True)
class _Order:
    """What is to be rented for."""

    recipe: Recipe
    needs: Needs
    run_id: str = ""
    """Of a run that goes on; what it has spent counts."""
    left: float = 1.0
    """The share of its steps that are to be trained."""


@dataclass(frozen=True)
class _Best:
    """An offer as it would be rented: of those that suit, the one that is tried first."""

    offer: Offer
    allowed: Allowance
    seconds: float | None
    usd: float | None
    per_hour: float
    """US dollars, with what is bid and the machine's own disk."""

    @property
    def most(self) -> float | None:
        """US dollars that it can cost at most; None where it costs nothing, or has no limit."""
        usd = self.per_hour * self.allowed.seconds / 3600 if self.per_hour else math.inf
        return usd if math.isfinite(usd) else None


def run(wish: Wish, terms: Terms) -> int:
    """From a recipe that names who rents to a tested adapter. Refuses whatever can be refused before anything is rented."""
    _refuse_at_once(wish.recipe)
    earlier = None if terms.new or terms.dry_run or wish.smoke else resuming.interrupted(wish.loaded)
    if earlier is not None and _wants_earlier(earlier, terms):
        return _go_on_with(earlier, wish, terms)
    found = agreed(wish, terms)
    if found is None:
        output.note("nothing was rented")
        return 0
    plan, wish = found
    if terms.dry_run:
        return plan.exit_code
    view = View(told=plan.warnings, as_json=terms.as_json)
    follow_rented(lambda watch: job.train_as_planned(wish, plan, watch), view)
    return 0


def agreed(wish: Wish, terms: Terms) -> tuple[Plan, Wish] | None:
    """The plan, once it is shown and the person wants what it costs, and the wish with what may be spent at most.

    None where the person does not want it. A dry run asks nothing.

    Refuses whatever can be refused before anything is rented.
    """
    _refuse_at_once(wish.recipe)
    plan, offers, asked = _looked(wish)
    if not terms.dry_run:
        job.refuse_errors(plan)
    if not terms.as_json:
        planned.show(plan)
    elif terms.dry_run:
        output.emit_json(plan_json(plan))
    if terms.dry_run:
        return plan, wish
    order = _Order(wish.recipe, asked)
    _look_at_hosts(order.recipe)
    best = _best(order, offers)
    return (plan, replace(wish, agreed_usd=best.most if best else None)) if _agrees(order, best, terms) else None


def resume(wish: Continuation, terms: Terms) -> int:
    """Has a rented run go on that failed or was stopped: asks first what that may cost."""
    intended = resuming.intended(wish)
    _refuse_at_once(intended.recipe)
    order = _Order(intended.recipe, intended.needs or Needs(), intended.folder.id, intended.left)
    offers = _asked(order.recipe, market.providers(order.recipe.compute.on))
    _look_at_hosts(order.recipe)
    best = _best(order, offers)
    if not _agrees(order, best, terms):
        output.note("nothing was rented")
        return 0
    if best is not None and best.most is not None:
        now = time.time()
        spent = sum(row.usd_of(order.run_id, now) for row in Leases.open().since())
        wish = replace(wish, agreed_usd=spent + best.most)
    follow_rented(lambda watch: resuming.go_on(wish, watch), View(as_json=terms.as_json), intended.folder)
    return 0


def _refuse_at_once(recipe: Recipe) -> None:
    """Raises what the recipe itself shows to be wrong, before anybody is asked."""
    if recipe.compute.code:
        cloning.parse(recipe.compute.code)
    copies.refuse_unusable(recipe.compute)


def _look_at_hosts(recipe: Recipe) -> None:
    """Logs in at the person's own hosts: one that lets nobody in, or is another one by now, is told at once."""
    for trouble in asyncio.run(hosts.look_at(market.providers(recipe.compute.on))):
        output.warn(trouble)


def _wants_earlier(row: RunRow, terms: Terms) -> bool:
    """Whether the person goes on with a run of this recipe that did not come to its end, in place of a new one."""
    if row.status == "detached":
        told, verb = (
            f"`{row.id}` is a run of this recipe that has not ended, and its machine may cost money",
            "take it up",
        )
        command = f"`lorry attach {row.id}` takes it up"
    else:
        told = f"`{row.id}` is a run of this recipe that was {row.status} at step {row.step or 0} of {row.steps or '?'}"
        verb, command = "go on with it", f"`lorry resume {row.id}` goes on with it"
    if terms.yes or not output.can_ask():
        output.note(f"{told}; {command}, this starts a new one")
        return False
    return says_yes(output.ask(f"{told}; {verb}? (yes, or no for a new run)", default="yes"))


def _go_on_with(row: RunRow, wish: Wish, terms: Terms) -> int:
    if row.status == "detached":
        attach(RunFolder(row.folder), View(as_json=terms.as_json))
        return 0
    return resume(Continuation(row.id, recipe=wish.loaded.recipe, answers=wish.answers), terms)


def _looked(wish: Wish) -> tuple[Plan, list[Offer], Needs]:
    """The plan on what is to be had now. Raises what speaks against renting any of it."""
    output.live("asking what is to be had now ..." if output.stderr_is_live() else "")
    offers = _asked(wish.recipe, market.providers(wish.recipe.compute.on))
    output.live("checking the recipe, its model and its rows ..." if output.stderr_is_live() else "")
    subject = Subject.of(wish.loaded, wish.recipe)
    plan = make_plan(subject, [offer for offer in offers if offer.gpu is not None])
    output.live("")
    return plan, offers, needs.needs_of(plan.subject) if plan.exit_code == 0 else Needs()


def _asked(recipe: Recipe, providers: Sequence[Provider]) -> list[Offer]:
    """The offers as of now, the cheapest first. Raises what speaks against renting any of them."""
    return asyncio.run(_offers(recipe, providers))


async def _offers(recipe: Recipe, providers: Sequence[Provider]) -> list[Offer]:
    compute = recipe.compute
    try:
        volume = (await market.volume_of(providers, compute.volume))[1].id if compute.volume else ""
        found = await market.survey(providers, market.wanted(compute, volume=volume), recipe.budget.usd)
    finally:
        await asyncio.gather(*(provider.close() for provider in providers), return_exceptions=True)
    return [one.offer for one in found.listed]


def _best(order: _Order, offers: Sequence[Offer]) -> _Best | None:
    """What is tried first, and for how long it may be kept; None where nothing is to be had now and the run waits for it."""
    recipe, asked = order.recipe, order.needs
    fitting = needs.chosen(asked, offers)
    if not fitting:
        if recipe.compute.wait_hours:
            return None
        names = " and ".join(str(one["name"]) for one in recipe.compute.on)
        hint = "set `compute.wait_hours`, allow more GPUs in `compute.gpu`, or name another provider in `compute.on`"
        raise RefusedError(f"{names} has no machine now on which the run fits", place="compute", hint=hint)
    each = _priced_offers(order, fitting)
    first = next(each)
    best = next((one for one in chain([first], each) if one.allowed.seconds >= LEAST), first)
    refuse_too_little(best.allowed, best.per_hour, LEAST)
    return best


def _priced_offers(order: _Order, offers: Sequence[Offer]) -> Iterator[_Best]:
    """Each offer, and for how long it may be kept: caps differ by provider."""
    recipe, asked, leases = order.recipe, order.needs, Leases.open()
    limits, rows, volumes, now = caps(home()), leases.since(), leases.volumes(), time.time()
    budget = Cap(usd=recipe.budget.usd, hours=recipe.budget.hours)
    for offer in offers:
        left = room(limits, rows, volumes, now, Asking(order.run_id, offer.provider, budget=budget))
        per_hour = price_of(offer, recipe.compute, asked.disk_gb)
        bills = getattr(plugins.find("providers", offer.provider), "capabilities", Capabilities()).bills
        allowed = allowance(left, per_hour, highest=asked.highest(offer), bills=bills)
        likely = (asked.seconds(offer), asked.usd(offer))
        seconds, usd = (None if one is None else one * order.left for one in likely)
        yield _Best(offer, allowed, seconds, usd, per_hour)


def _agrees(order: _Order, best: _Best | None, terms: Terms) -> bool:
    """Whether the person wants what it costs; a machine that costs nothing needs no word."""
    if best is None:
        told = _waiting(order.recipe)
    elif not best.offer.usd_per_hour.likely:
        return True
    else:
        told = _priced(best)
    if terms.yes:
        output.note(told)
        return True
    if not output.can_ask():
        raise RefusedError(f"renting costs money, and nobody is here to be asked: {told}", hint="say so: `--yes`")
    verb = "go on" if order.run_id else "start"
    return says_yes(output.ask(f"{told}; {verb}?", default="yes"))


def _waiting(recipe: Recipe) -> str:
    """What is to come where nothing can be rented now, and what that can cost at most."""
    hours, usd = recipe.compute.wait_hours, recipe.budget.usd
    most = f"for {units.money(usd)} at most" if usd is not None else "with no `budget.usd` to limit it"
    return f"nothing is to be had now; this waits for up to {hours:g} hours and rents what comes, {most}"


def _priced(best: _Best) -> str:
    """What is rented, at what price, what it is likely to cost, and what it can cost at most."""
    offer, price = best.offer, best.offer.usd_per_hour.likely
    likely = ""
    if best.usd is not None and best.seconds is not None:
        likely = f", about {units.money(best.usd)} in {units.duration(best.seconds)}"
    most = units.money(best.most or 0.0)
    alone = _only_a_live_controller(offer)
    held = f"at most {most} ({best.allowed.why}{'' if alone else '; the machine holds to that by itself too'})"
    return f"{offer.name} at {units.money(price)} an hour{likely}, {held}{alone}"


def _only_a_live_controller(offer: Offer) -> str:
    provider = plugins.find("providers", offer.provider)
    capabilities = getattr(provider, "capabilities", None)
    if capabilities is None or capabilities.self_ending != "none" or not capabilities.bills:
        return ""
    return f", and only while this computer runs: a machine of {offer.provider} cannot end itself"
