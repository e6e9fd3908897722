"""`lorry run`: from a recipe to a tested adapter."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lorry import units
from lorry.cli import output
from lorry.cli.options import takes
from lorry.recipe import compute_on

if TYPE_CHECKING:
    from lorry.job import Wish
    from lorry.plan.plan import Plan


@dataclass(frozen=True)
class Options:
    """What `lorry run` takes."""

    recipe: Annotated[
        list[Path], typer.Argument(help="A YAML or Python recipe; with `--on`, several that take turns on one machine.")
    ]
    on: Annotated[
        list[str] | None, typer.Option("--on", help="Where: `local`, `runpod`, `vast`, `lambda`, `ssh:user@host`.")
    ] = None
    override: Annotated[list[str] | None, typer.Option("-o", "--override", help="`train.steps=10`.")] = None
    smoke: Annotated[bool, typer.Option("--smoke", help="Ten steps on ten rows, with a verdict.")] = False
    new: Annotated[bool, typer.Option("--new", help="Start anew, also where such a run was interrupted.")] = False
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it would take.")] = False
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing: start, and go on up to the budget.")] = False
    json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False


@takes(Options)
def command(options: Options) -> int:
    """Train what a recipe describes, evaluate it against the base model, and write the report.

    What it will take is said first; where it costs money, a person at a terminal is asked whether to go on. Where a run of the
    same recipe was interrupted, that person is asked whether to go on with that one.
    """
    from lorry import job, resuming
    from lorry.cli.outcome import View, follow
    from lorry.recipe.load import load

    every = [load(one, [*(options.override or []), *compute_on.override(options.on or [])]) for one in options.recipe]
    asks = output.can_ask() and not options.yes
    answers = "ask" if asks else "yes" if options.yes else "none"
    wishes = [job.Wish(loaded, options.smoke, tuple(sys.argv), answers) for loaded in every]
    if len(wishes) > 1:
        return _in_turn(wishes, options)
    (wish,), (loaded,) = wishes, every
    if not options.dry_run:
        job.require_training_packages(wish.recipe)
    if not wish.recipe.compute.is_here:
        from lorry.cli import rental

        return rental.run(wish, rental.Terms(options.yes, options.dry_run, options.json, options.new))
    price = wish.recipe.budget.price_per_hour
    earlier = None if options.new or options.smoke or options.dry_run else _to_go_on_with(wish, asks=asks)
    if earlier:
        more = resuming.Continuation(earlier, recipe=loaded.recipe, answers=answers)
        follow(lambda watch: resuming.go_on(more, watch), View(price, as_json=options.json))
        return 0
    plan = _planned(wish, options)
    if options.dry_run:
        return plan.exit_code
    if price and asks and not _agrees(plan):
        output.note("nothing was started")
        return 0
    follow(lambda watch: job.train_as_planned(wish, plan, watch), View(price, plan.warnings, as_json=options.json))
    return 0


def _in_turn(wishes: list[Wish], options: Options) -> int:
    """Several recipes, which have to be for rented machines."""
    from lorry.cli import in_turn, rental
    from lorry.errors import InputError

    if any(wish.recipe.compute.is_here for wish in wishes):
        hint = "start them one by one, or name who rents: `--on runpod`"
        raise InputError("several recipes take turns on a rented machine, not on this one", hint=hint)
    return in_turn.run(wishes, rental.Terms(options.yes, options.dry_run, options.json))


def _planned(wish: Wish, options: Options) -> Plan:
    """The plan, shown; with `--json` only where it is all that is asked for. Raises what forbids to start, unless it is."""
    from lorry import job
    from lorry.cli import planned
    from lorry.plan.plan_json import plan_json

    if output.stderr_is_live():
        output.live("checking the recipe, its model and its rows ...")
    plan = job.plan(wish)
    output.live("")
    if not options.dry_run:
        job.refuse_errors(plan)
    if not options.json:
        planned.show(plan)
    elif options.dry_run:
        output.emit_json(plan_json(plan))
    return plan


def _agrees(plan: Plan) -> bool:
    """Whether the person wants what it costs."""
    from lorry.cli.outcome import says_yes

    cost = plan.estimate.here.cost if plan.estimate else None
    told = "its cost is not known"
    if cost:
        span = f"{units.money(cost.total.low)} to {units.money(cost.total.high)}"
        told = f"about {units.money(cost.total.likely)} ({span}) in {units.duration(cost.elapsed.likely)}"
    cap = plan.subject.recipe.budget.usd
    limit = "" if cap is None else f"; training ends in time for {units.money(cap)}"
    return says_yes(output.ask(f"{told}{limit}; start it?", default="yes"))


def _to_go_on_with(wish: Wish, *, asks: bool) -> str | None:
    """The id of an interrupted run of the recipe, if the person wants that one; what it will cost is in the question."""
    from lorry import resuming
    from lorry.cli.outcome import says_yes

    row = resuming.interrupted(wish.loaded)
    if row is None:
        return None
    told = f"`{row.id}` is a run of this recipe that was {row.status} at step {row.step or 0} of {row.steps or '?'}"
    if not asks:
        output.note(f"{told}; `lorry resume {row.id}` goes on with it, this starts a new one")
        return None
    price, seconds = wish.recipe.budget.price_per_hour, resuming.seconds_left(row)
    if price and seconds is not None:
        told += f", and about {units.money(price * seconds / 3600)} from its end"
    answer = output.ask(f"{told}; go on with it? (yes, or no for a new run)", default="yes")
    return row.id if says_yes(answer) else None
