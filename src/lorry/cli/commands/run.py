"""`lorry run`: from a recipe to a tested adapter."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lorry.cli import output

if TYPE_CHECKING:
    from lorry.recipe.load import Loaded


def command(
    recipe: Annotated[Path, typer.Argument(help="A YAML or Python recipe.")],
    overrides: Annotated[list[str] | None, typer.Option("-o", "--override", help="`train.steps=10`.")] = None,
    smoke: Annotated[bool, typer.Option("--smoke", help="Ten steps on ten rows, with a verdict.")] = False,
    new: Annotated[bool, typer.Option("--new", help="Start anew, also where such a run was interrupted.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Train what a recipe describes, evaluate it against the base model, and write the report.

    Where a run of the same recipe was interrupted, a person at a terminal is asked whether to go on with that one.
    """
    from lorry import job, resuming
    from lorry.cli.outcome import follow
    from lorry.recipe.load import load

    job.require_training_packages()
    loaded = load(recipe, overrides or ())
    earlier = None if new or smoke else _to_go_on_with(loaded)
    wish = job.Wish(loaded, smoke, tuple(sys.argv))
    follow(
        (lambda watch: resuming.go_on(resuming.Continuation(earlier, recipe=loaded.recipe), watch))
        if earlier
        else (lambda watch: job.carry_out(wish, watch)),
        price_per_hour=wish.recipe.budget.price_per_hour,
        as_json=json_,
    )


def _to_go_on_with(loaded: Loaded) -> str | None:
    """The id of an interrupted run of the recipe, if the person wants that one."""
    from lorry import resuming

    row = resuming.interrupted(loaded)
    if row is None:
        return None
    told = f"`{row.id}` is a run of this recipe that was {row.status} at step {row.step or 0} of {row.steps or '?'}"
    if not output.can_ask():
        output.note(f"{told}; `lorry resume {row.id}` goes on with it, this starts a new one")
        return None
    answer = output.ask(f"{told}; go on with it? (yes, or no for a new run)", default="yes")
    return row.id if answer.strip().lower() in ("y", "yes") else None
