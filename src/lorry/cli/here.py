"""Runs on this machine, from the plan and the one question to the outcome: one, or several that take turns."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from lorry import job, units
from lorry.cli import output, planned
from lorry.cli.chain import Chain
from lorry.cli.outcome import View, follow, says_yes
from lorry.cli.terms import Terms
from lorry.errors import LorryError, StoppedError
from lorry.job import Watcher, Wish
from lorry.plan.plan import Plan
from lorry.plan.plan_json import plan_json
from lorry.track.run import Run


def plan(wish: Wish, terms: Terms) -> Plan:
    """The plan, shown; with `--json` only where it is all that is asked for. Raises what forbids to start, unless it is."""
    if output.stderr_is_live():
        output.live("checking the recipe, its model and its rows ...")
    made = job.plan(wish)
    output.live("")
    if not terms.dry_run:
        job.refuse_errors(made)
    if not terms.as_json:
        planned.show(made)
    elif terms.dry_run:
        output.emit_json(plan_json(made))
    return made


def agrees(plan: Plan) -> bool:
    """Whether the person wants what it costs."""
    cost = plan.estimate.here.cost if plan.estimate else None
    told = "its cost is not known"
    if cost:
        span = f"{units.money(cost.total.low)} to {units.money(cost.total.high)}"
        told = f"about {units.money(cost.total.likely)} ({span}) in {units.duration(cost.elapsed.likely)}"
    cap = plan.subject.recipe.budget.usd
    limit = "" if cap is None else f"; training ends in time for {units.money(cap)}"
    return says_yes(output.ask(f"{told}{limit}; start it?", default="yes"))


def in_turn(chain: Chain, terms: Terms) -> int:
    """Carries several recipes out in order; the exit code of the first that went wrong.

    All are checked before the first begins. One that fails keeps those from their turn that continue its adapter, and no
    others.
    """
    plans: list[Plan] = []
    for number, wish in enumerate(chain.wishes):
        plans.append(_planned_as_one_of_several(chain.names[number], wish, terms))
        chain.say_what_is_to_come(number)
    if terms.dry_run:
        return max(plan.exit_code for plan in plans)
    priced = [plan for plan in plans if plan.subject.recipe.budget.price_per_hour]
    if output.can_ask() and not terms.yes and not all(agrees(plan) for plan in priced):
        output.note("nothing was started")
        return 0
    codes: list[int] = []
    for number, found in enumerate(plans):
        try:
            codes.append(_one(chain, number, found, terms))
        except StoppedError:
            _say_not_started(chain.names[number + 1 :])
            raise
    return next((code for code in codes if code), 0)


def _planned_as_one_of_several(name: str, wish: Wish, terms: Terms) -> Plan:
    try:
        return plan(wish, terms)
    except LorryError:
        output.note(f"`{name}` cannot start, so nothing was started")
        raise


def _one(chain: Chain, number: int, found: Plan, terms: Terms) -> int:
    """One of them; its exit code."""
    wish = chain.wishes[number]

    def act(watch: Watcher) -> Run:
        return job.train_as_planned(wish, ready, watch)

    try:
        ready = chain.ready(number, found)
        run = follow(act, View(wish.recipe.budget.price_per_hour, found.warnings, as_json=terms.as_json))
    except typer.Exit as ended:
        return int(ended.exit_code)
    except StoppedError:
        raise
    except LorryError as error:
        if number == len(chain.wishes) - 1:
            raise
        output.error(f"`{chain.names[number]}`: {error}", error.hint)
        return error.exit_code
    chain.made[number] = run
    return 0


def _say_not_started(names: Sequence[str]) -> None:
    if names:
        output.note(f"not started: {' and '.join(f'`{name}`' for name in names)}")
