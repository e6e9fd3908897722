"""`lorry plan RECIPE`: will it work, what will it need, how long, how much, and where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from lorry import units
from lorry.cli import findings as shown
from lorry.cli import output
from lorry.errors import ModelError
from lorry.plan import findings, gpus
from lorry.plan.check import check
from lorry.plan.findings import Finding
from lorry.plan.fit import Fit
from lorry.plan.memory import Memory, stays_whole
from lorry.plan.offers import By, Offer, Ranked
from lorry.plan.plan import Plan, Planner
from lorry.plan.prices import prices
from lorry.plan.ranges import Range
from lorry.plan.subject import Subject, UnavailableError
from lorry.recipe.load import load
from lorry.recipe.name import experiment_name
from lorry.recipe.schema import Recipe
from lorry.track.folder import home

_BAR = 32
_COLUMNS = (
    output.Column("offer"),
    output.Column("memory", right=True),
    output.Column("time", right=True),
    output.Column("cost", right=True),
    output.Column("likely from - to", right=True),
    output.Column("note"),
)
_SHOWN = 12


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
    subject = Subject(loaded.recipe, loaded.base)
    said = [findings.warning("recipe.override", text) for text in loaded.warnings]
    found = findings.ordered([*said, *check(subject)])
    plan, why = _planned(subject, _wanted(gpu or []), by)
    output.live("")
    code = findings.exit_code(found)
    if as_json:
        output.emit_json(_as_json(loaded.recipe, found, plan, why))
        return code
    _show(loaded.recipe, subject, plan, why, every=every)
    output.data("")
    shown.show([one for one in found if one.severity != "note"])
    tally = shown.tally(found)
    output.note(
        f"{tally or 'nothing is wrong'}; `lorry check {recipe}` tells more, `lorry run {recipe}` starts it here"
    )
    return code


def _wanted(names: Sequence[str]) -> list[Offer]:
    """The offers of the price list that the person asks for. Raises InputError for an unknown GPU."""
    cards = {card.name for name in names for card in (gpus.variants(name) or [gpus.get(name)])}
    return [
        offer
        for offer in prices(home()).offers
        if (not cards or (offer.gpu is not None and offer.gpu.name in cards)) and offer.gpus == 1
    ]


def _planned(subject: Subject, candidates: list[Offer], by: By) -> tuple[Plan | None, str]:
    """The plan, or why there is none."""
    try:
        return Planner(subject).plan(candidates, by), ""
    except (UnavailableError, ModelError) as error:
        return None, str(error)


def _show(recipe: Recipe, subject: Subject, plan: Plan | None, why: str, *, every: bool) -> None:
    output.data(experiment_name(recipe))
    output.data("")
    if plan is None:
        output.data(f"no estimate of memory, time and cost: {why}")
        return
    _facts(_said(recipe, subject, plan))
    output.data("")
    _bars(plan)
    output.data("")
    rows = [plan.here, *plan.offers]
    kept = rows if every else [plan.here, *[one for one in plan.offers if one.fits][:_SHOWN]]
    output.table(_COLUMNS, [_cells(one, plan) for one in kept], fold=False)
    left = len(rows) - len(kept)
    if left:
        output.note(f"{left} more offers, those that do not fit among them: `--all`")


def _said(recipe: Recipe, subject: Subject, plan: Plan) -> list[tuple[str, str]]:
    data, train, shape = subject.prepared.facts, recipe.train, plan.shape
    cut = f"; {units.count(data.train.cut_rows)} cut" if data.train.cut_rows else ""
    rows = train.micro_batch * train.accumulation
    spared = 1 - plan.tokens.computed / plan.tokens.rows if plan.tokens.rows else 0.0
    sharing = f", {spared:.0%} of them shared and computed once" if spared > 0.005 else ""
    quantised = "" if recipe.model.quantization == "none" else f", {recipe.model.quantization}"
    whole = [("16 bits", f"{', '.join(stays_whole(shape))} stay as they are")] if quantised else []
    return [
        ("Model", f"{plan.model}: {_billions(shape.parameters)} parameters{quantised}; {_billions(plan.trained)} trained"),
        *whole,
        ("Data", f"{units.count(data.train.rows)} rows, {units.count(data.train.tokens)} tokens{cut}"),
        ("Training", f"{units.count(plan.tokens.steps)} steps, batch {train.micro_batch} x {train.accumulation} = {rows}, "
                     f"learning rate {train.learning_rate:g}"),
        ("Tokens", f"{units.count(plan.tokens.rows)}{sharing}"),
    ]  # fmt: skip


def _facts(pairs: list[tuple[str, str]]) -> None:
    for label, text in pairs:
        output.pieces([(label.ljust(10), "dim"), (text, "")])


def _bars(plan: Plan) -> None:
    """A bar of memory for this computer and for the first GPUs that could be rented."""
    seen: dict[str, tuple[str, Fit, int]] = {}
    for one in [plan.here, *plan.offers]:
        name = one.offer.gpu.name if one.offer.gpu is not None else "this computer"
        seen.setdefault(name, (name, plan.fit_of(one.offer), one.offer.memory))
    for name, found, room in list(seen.values())[:5]:
        filled = min(_BAR, round(_BAR * found.memory.peak / max(room, 1)))
        bar = "#" * filled + "." * (_BAR - filled)
        told = f"{units.size(found.memory.peak)} of {units.size(room)}"
        output.pieces([("Memory    ", "dim"), (f"{name[:18]:18} [{bar}] {told}{_ladder(found)}", "")])


def _ladder(found: Fit) -> str:
    if found.rung is None:
        return "; does not fit"
    if not found.lowered:
        return f"; micro-batches of up to {found.largest} fit" if found.largest else ""
    kept = ", activations computed twice" if found.rung.activation_checkpointing else ""
    return f"; with micro-batches of {found.rung.micro_batch}{kept}"


def _cells(one: Ranked, plan: Plan) -> list[str]:
    peak = units.size(plan.fit_of(one.offer).memory.peak)
    if one.cost is None:
        return [one.offer.name, peak, "-", "-", "-", "; ".join(one.reasons)]
    elapsed, total = one.cost.elapsed, one.cost.total
    times = f"{units.duration(elapsed.low)} - {units.duration(elapsed.high)}"
    span = f"{times}, {units.money(total.low)} - {units.money(total.high)}"
    notes = [*one.reasons, *one.warnings, "interruptible" if one.offer.interruptible else ""]
    return [
        one.offer.name,
        peak,
        units.duration(elapsed.likely),
        units.money(total.likely),
        span,
        "; ".join(filter(None, notes)) or "-",
    ]


def _billions(count: int) -> str:
    return f"{count / 1e9:.2f} billion" if count >= 1e9 else f"{count / 1e6:,.1f} million"


def _as_json(recipe: Recipe, found: list[Finding], plan: Plan | None, why: str) -> dict[str, Any]:
    head = {"name": experiment_name(recipe), "exit_code": findings.exit_code(found)}
    said = {**head, "findings": [asdict(finding) for finding in found]}
    if plan is None:
        return {**said, "no_estimate": why}
    here = plan.here.cost
    return {
        **said,
        "tokens": asdict(plan.tokens),
        "memory": {name: _fit_json(one) for name, one in plan.fits.items()},
        "time": asdict(here.elapsed) if here else None,
        "cost": asdict(here.total) if here else None,
        "offers": [_offer_json(one) for one in [plan.here, *plan.offers]],
    }


def _fit_json(found: Fit) -> dict[str, Any]:
    rung = found.rung.as_dict() if found.rung else None
    return {**_memory_json(found.memory), "rung": rung, "lowered": found.lowered, "largest_micro_batch": found.largest}


def _memory_json(memory: Memory) -> dict[str, Any]:
    return {"peak": memory.peak, "device": memory.device, "host": memory.host}


def _offer_json(one: Ranked) -> dict[str, Any]:
    price: Range = one.offer.usd_per_hour
    facts = {
        "offer": one.offer.name,
        "provider": one.offer.provider,
        "gpu": one.offer.gpu.name if one.offer.gpu else None,
        "usd_per_hour": asdict(price),
        "interruptible": one.offer.interruptible,
        "fits": one.fits,
        "reasons": list(one.reasons),
        "warnings": list(one.warnings),
    }
    if one.cost is None:
        return facts
    return {**facts, "seconds": asdict(one.cost.elapsed), "usd": asdict(one.cost.total)}
