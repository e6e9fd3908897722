"""`lorry run`: from a recipe to a tested adapter."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from lorry.cli import output


def command(
    recipe: Annotated[Path, typer.Argument(help="A YAML or Python recipe.")],
    overrides: Annotated[list[str] | None, typer.Option("-o", "--override", help="`train.steps=10`.")] = None,
    smoke: Annotated[bool, typer.Option("--smoke", help="Ten steps on ten rows, with a verdict.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Train what a recipe describes, evaluate it against the base model, and write the report."""
    from lorry import job
    from lorry.cli.outcome import tell
    from lorry.cli.progress import Progress
    from lorry.recipe.load import load

    job.require_training_packages()
    wish = job.Wish(load(recipe, overrides or ()), smoke, tuple(sys.argv))
    progress = Progress(price_per_hour=wish.recipe.budget.price_per_hour)
    try:
        run = job.carry_out(wish, progress.show)
    finally:
        progress.close()
    if json_:
        output.emit_json(run.summary)
    else:
        tell(run)
    if smoke and not run.summary["verdict"]["passed"]:
        raise typer.Exit(1)
