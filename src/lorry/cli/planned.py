"""How a plan looks on the command line: one screen."""

from __future__ import annotations

from lorry import units
from lorry.cli import compared, findings, output
from lorry.plan.compare import SideBySide
from lorry.plan.fit import Fit
from lorry.plan.offers import Ranked
from lorry.plan.plan import Plan
from lorry.plan.planner import Estimate
from lorry.plan.words import facts, sits
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


def show(plan: Plan, comparison: SideBySide | None = None, *, every: bool = False) -> None:
    """Prints a plan on one screen: what is trained on what, memory, time and cost, and what is wrong.

    Of the offers only the best that fit, unless `every` one is asked for; where providers are compared, their table instead.
    """
    output.data(experiment_name(plan.subject.recipe))
    output.data("")
    if plan.estimate is None:
        output.data(f"no estimate of memory, time and cost: {plan.no_estimate}")
    else:
        _facts(facts(plan.subject, plan.estimate))
        output.data("")
        _bars(plan.estimate)
        output.data("")
        if comparison:
            compared.show(comparison)
        if comparison and every:
            output.data("")
        if every or not comparison:
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
        how = sits(found)
        told = f"{units.size(found.memory.peak)} of {units.size(room)}"
        output.pieces([("Memory    ", "dim"), (f"{name[:18]:18} [{bar}] {told}{f'; {how}' if how else ''}", "")])


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
