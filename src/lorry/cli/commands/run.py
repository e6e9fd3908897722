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
    from lorry.cli.chain import Chain
    from lorry.cli.terms import Terms
    from lorry.job import Wish


@dataclass(frozen=True)
class Options:
    """What `lorry run` takes."""

    recipe: Annotated[list[Path], typer.Argument(help="A YAML or Python recipe, or several that take turns.")]
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
    same recipe was interrupted, that person is asked whether to go on with that one. Of several recipes each may continue the
    adapter of one before it: `model.adapter: last`, or that one's name.
    """
    from lorry import job, resuming
    from lorry.cli import here
    from lorry.cli.chain import Chain
    from lorry.cli.loading import load
    from lorry.cli.outcome import View, follow
    from lorry.cli.terms import Terms
    from lorry.recipe.earlier import linked

    terms = Terms(options.yes, options.dry_run, options.json, options.new)

    every = [load(one, [*(options.override or []), *compute_on.override(options.on or [])]) for one in options.recipe]
    asks = output.can_ask() and not options.yes
    answers = "ask" if asks else "yes" if options.yes else "none"
    links = linked(every)
    wishes = [job.Wish(link.loaded, options.smoke, tuple(sys.argv), answers) for link in links]
    if len(wishes) > 1:
        return _in_turn(Chain(wishes, [link.makers for link in links]), terms)
    (wish,), (loaded,) = wishes, every
    if not options.dry_run:
        job.require_training_packages(wish.recipe)
    if not wish.recipe.compute.is_here:
        from lorry.cli import rental

        return rental.run(wish, terms)
    price = wish.recipe.budget.price_per_hour
    earlier = None if options.new or options.smoke or options.dry_run else _to_go_on_with(wish, asks=asks)
    if earlier:
        more = resuming.Continuation(earlier, recipe=loaded.recipe, answers=answers)
        follow(lambda watch: resuming.go_on(more, watch), View(price, as_json=options.json))
        return 0
    plan = here.plan(wish, terms)
    if options.dry_run:
        return plan.exit_code
    if price and asks and not here.agrees(plan):
        output.note("nothing was started")
        return 0
    follow(lambda watch: job.train_as_planned(wish, plan, watch), View(price, plan.warnings, as_json=options.json))
    return 0


def _in_turn(chain: Chain, terms: Terms) -> int:
    """Several recipes, which are all for this machine, or all for rented ones."""
    from lorry import job
    from lorry.cli import here, in_turn
    from lorry.errors import InputError

    are_here = {wish.recipe.compute.is_here for wish in chain.wishes}
    if len(are_here) > 1:
        hint = "start them one by one, or say for all of them where: `--on local`, `--on runpod`"
        raise InputError("some of these recipes are for this machine, and some for a rented one", hint=hint)
    if are_here == {False}:
        return in_turn.run(chain, terms)
    if not terms.dry_run:
        job.require_training_packages()
    return here.in_turn(chain, terms)


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
