"""How a plan looks on the command line: one screen."""

from __future__ import annotations

from lorry import units
from lorry.cli import findings, output
from lorry.plan.fit import Fit
from lorry.plan.memory import stays_whole
from lorry.plan.offers import Ranked
from lorry.plan.plan import Estimate, Plan
from lorry.plan.subject import Subject
from lorry.recipe.name import experiment_name

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


def show(plan: Plan, *, every: bool = False) -> None:
    """Prints a plan on one screen: what is trained on what, memory, time and cost, and what is wrong.

    Of the offers only the best that fit, unless `every` one is asked for.
    """
    output.data(experiment_name(plan.subject.recipe))
    output.data("")
    if plan.estimate is None:
        output.data(f"no estimate of memory, time and cost: {plan.no_estimate}")
    else:
        _facts(_said(plan.subject, plan.estimate))
        output.data("")
        _bars(plan.estimate)
        output.data("")
        _offers(plan.estimate, every=every)
    output.data("")
    findings.show([one for one in plan.findings if one.severity != "note"])


def _offers(estimate: Estimate, *, every: bool) -> None:
    rows = [estimate.here, *estimate.offers]
    kept = rows if every else [estimate.here, *[one for one in estimate.offers if one.fits][:_SHOWN]]
    output.table(_COLUMNS, [_cells(one, estimate) for one in kept], fold=False)
    left = len(rows) - len(kept)
    if left:
        output.note(f"{left} more offers, those that do not fit among them: `--all`")


def _said(subject: Subject, plan: Estimate) -> list[tuple[str, str]]:
    recipe, data, shape = subject.recipe, subject.prepared.facts, plan.shape
    train = recipe.train
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


def _bars(plan: Estimate) -> None:
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


def _cells(one: Ranked, plan: Estimate) -> list[str]:
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
