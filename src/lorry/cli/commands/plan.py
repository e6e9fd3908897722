"""`lorry plan RECIPE`: will it work, what will it need, how long, how much, and where."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from lorry.cli import findings, output, planned
from lorry.plan import gpus
from lorry.plan.offers import Offer
from lorry.plan.plan import make_plan
from lorry.plan.plan_json import plan_json
from lorry.plan.prices import prices
from lorry.plan.subject import Subject
from lorry.recipe.load import load
from lorry.track.folder import home


def command(
    recipe: Annotated[Path, typer.Argument(help="A recipe: a YAML or Python file.")],
    override: Annotated[
        list[str] | None, typer.Option("--override", "-o", help="Replace a value: `train.learning_rate=1e-4`.")
    ] = None,
    gpu: Annotated[list[str] | None, typer.Option("--gpu", help="Only these GPUs: `--gpu 4090 --gpu H100`.")] = None,
    by: Annotated[Literal["cost", "time", "both"], typer.Option(help="What ranks the offers.")] = "cost",
    every: Annotated[bool, typer.Option("--all", help="Show every offer, those that do not fit too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> int:
    """Say what a run will take before it takes it: whether it works, memory, time and cost, here and on rented GPUs.

    Exits as `lorry check` does. Nothing is rented, and nothing runs.
    """
    loaded = load(recipe, override or [])
    if output.stderr_is_live():
        output.live("checking the recipe, its model and its rows ...")
    plan = make_plan(Subject.of(loaded), _wanted(gpu or []), by)
    output.live("")
    if as_json:
        output.emit_json(plan_json(plan))
        return plan.exit_code
    planned.show(plan, every=every)
    tally = findings.tally(plan.findings)
    output.note(
        f"{tally or 'nothing is wrong'}; `lorry check {recipe}` tells more, `lorry run {recipe}` starts it here"
    )
    return plan.exit_code


def _wanted(names: Sequence[str]) -> list[Offer]:
    """The offers of the price list that the person asks for. Raises InputError for an unknown GPU."""
    cards = {card.name for name in names for card in (gpus.variants(name) or [gpus.get(name)])}
    return [
        offer
        for offer in prices(home()).offers
        if (not cards or (offer.gpu is not None and offer.gpu.name in cards)) and offer.gpus == 1
    ]
