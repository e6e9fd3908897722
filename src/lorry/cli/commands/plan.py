"""`lorry plan RECIPE`: will it work, what will it need, how long, how much, and where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from lorry.cli import findings, output, planned
from lorry.cli.loading import load
from lorry.cli.options import takes
from lorry.errors import InputError
from lorry.plan import compare, gpus
from lorry.plan.compare import SideBySide, Yardstick
from lorry.plan.live import Live, within_budget
from lorry.plan.owning import USD_PER_KWH, Power
from lorry.plan.plan import Plan, make_plan
from lorry.plan.plan_json import comparison_json, plan_json
from lorry.plan.prices import prices
from lorry.plan.subject import Subject
from lorry.recipe import compute_on
from lorry.recipe.schema import Recipe
from lorry.track.folder import home, write_text


@dataclass(frozen=True)
class Options:
    """What `lorry plan` takes."""

    recipe: Annotated[Path | None, typer.Argument(help="A recipe: a YAML or Python file.")] = None
    override: Annotated[
        list[str] | None, typer.Option("--override", "-o", help="Replace a value: `train.learning_rate=1e-4`.")
    ] = None
    gpu: Annotated[list[str] | None, typer.Option("--gpu", help="Only these GPUs: `--gpu 4090 --gpu H100`.")] = None
    on: Annotated[
        list[str] | None, typer.Option("--on", help="Ask this provider what it has now: `--on runpod --on vast`.")
    ] = None
    by: Annotated[Literal["cost", "time", "both"], typer.Option(help="What ranks the offers.")] = "cost"
    every: Annotated[bool, typer.Option("--all", help="Show every offer, those that do not fit too.")] = False
    compare: Annotated[
        str | None, typer.Option(metavar="NAMES", help="Providers side by side: `runpod,vast,aws`, or `all`.")
    ] = None
    budget: Annotated[
        float | None, typer.Option(metavar="USD", help="With --compare: how many runs so many dollars buy.")
    ] = None
    success_rate: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="With --compare: the share of runs that give a usable adapter."),
    ] = None
    value: Annotated[
        float | None, typer.Option(metavar="USD", help="With --compare: what a usable adapter is worth.")
    ] = None
    buy: Annotated[
        float | None, typer.Option(metavar="USD", help="With --compare: what the best offer's GPU costs to buy.")
    ] = None
    kwh: Annotated[float | None, typer.Option(metavar="USD", help="Price of a kWh of this computer's power.")] = None
    watts: Annotated[float | None, typer.Option(help="What all of this computer takes while it trains.")] = None
    accuracy: Annotated[
        bool, typer.Option("--accuracy", help="Of past runs instead: what was planned, and what they took.")
    ] = False
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the plan as a page, with charts.")] = None
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False


@dataclass(frozen=True)
class _Asked:
    """What is to be compared."""

    names: Sequence[str]
    by: Yardstick


@takes(Options)
def command(options: Options) -> int:
    """Say what a run will take before it takes it: whether it works, memory, time and cost, here and on rented GPUs.

    With `--accuracy` it says how good the plans of past runs were. With `--compare`, providers stand side by side; `--html`
    writes a page with charts. Exits as `lorry check` does. Nothing is rented, and nothing runs.
    """
    if options.accuracy:
        from lorry.cli import accuracy

        accuracy.show(as_json=options.json)
        return 0
    if options.recipe is None:
        raise InputError("no recipe is named", hint="`lorry plan recipe.yaml`, or `lorry plan --accuracy` of past runs")
    asked, power = _asked(options), _power(options)
    loaded = load(options.recipe, [*(options.override or []), *compute_on.override(options.on or [])])
    live = _live(loaded.recipe, options.gpu or [])
    if output.stderr_is_live():
        output.live("checking the recipe, its model and its rows ...")
    plan = make_plan(Subject.of(loaded), live.offers, options.by, power=power)
    output.live("")
    compared = _compared(plan, asked, power) if asked else None
    if options.html:
        _write_page(options.html, plan, compared)
    if options.json:
        output.emit_json({**_as_json(plan, asked, compared), **({"offers_from": live.where} if live.where else {})})
    else:
        _show(options, plan, compared, live)
    if plan.exit_code == 0:
        within_budget(live.now, loaded.recipe.budget.usd)
    return plan.exit_code


def _show(options: Options, plan: Plan, compared: SideBySide | None, live: Live) -> None:
    planned.show(plan, compared, every=options.every)
    for note in live.notes:
        output.note(note)
    tally = findings.tally(plan.findings)
    start = f"`lorry run {options.recipe}` starts it{'' if live.notes else ' here'}"
    output.note(f"{tally or 'nothing is wrong'}; `lorry check {options.recipe}` tells more, {start}")


def _live(recipe: Recipe, names: Sequence[str]) -> Live:
    """The offers that the person asks for: of the price list, and as of now where the recipe names who rents.

    Raises InputError for an unknown GPU or provider.
    """
    cards = [card for name in names for card in (gpus.variants(name) or [gpus.get(name)])]
    listed = [offer for offer in prices(home()).offers if (not cards or offer.gpu in cards) and offer.gpus == 1]
    if recipe.compute.is_here:
        return Live(listed)
    if output.stderr_is_live():
        output.live("asking what is to be had now ...")
    from lorry.cli.live_offers import over

    return over(listed, recipe.compute, cards)


def _asked(options: Options) -> _Asked | None:
    """The comparison that is asked for. Raises InputError for names and figures that cannot be."""
    if options.compare is None:
        for name in ("budget", "success_rate", "value", "buy"):
            if getattr(options, name) is not None:
                flag = f"--{name.replace('_', '-')}"
                hint = f"say which providers: `--compare all {flag} {getattr(options, name):g}`"
                raise InputError(f"`{flag}` is a yardstick of a comparison", hint=hint)
        return None
    rate = 1.0 if options.success_rate is None else options.success_rate
    by = Yardstick(options.budget, rate, options.value, options.buy)
    return _Asked(compare.providers(options.compare, prices(home()).providers), by)


def _power(options: Options) -> Power | None:
    """What the person said of this computer's power; None where that was nothing."""
    if options.kwh is None and options.watts is None:
        return None
    return Power(USD_PER_KWH if options.kwh is None else options.kwh, options.watts)


def _compared(plan: Plan, asked: _Asked, power: Power | None) -> SideBySide | None:
    """None where there is no estimate to compare."""
    if plan.estimate is None:
        return None
    per_kwh = (power or Power()).usd_per_kwh
    return compare.side_by_side(plan.estimate.here, plan.estimate.offers, asked.names, asked.by, per_kwh)


def _write_page(file: Path, plan: Plan, compared: SideBySide | None) -> None:
    """Raises InputError where the page cannot be written there."""
    from lorry.report.plan_page import plan_page

    hint = "name a file in a folder of your own: `--html plan.html`"
    try:
        if file.exists() and not file.is_file():
            raise InputError(f"the page cannot be written: `{file}` is no file", hint=hint)
        write_text(file, plan_page(plan, compared))
    except OSError as error:
        raise InputError(f"the page cannot be written to `{file}`: {error.strerror}", hint=hint) from error
    output.note(f"the plan as a page: {file}")


def _as_json(plan: Plan, asked: _Asked | None, compared: SideBySide | None) -> dict[str, object]:
    said = plan_json(plan)
    return {**said, "comparison": comparison_json(compared) if compared else None} if asked else said
