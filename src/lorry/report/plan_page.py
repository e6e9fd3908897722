"""A plan as one HTML page that needs nothing else: no scripts, no network; it prints, and suits dark and light."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from lorry import units
from lorry.data.facts import SplitFacts
from lorry.data.prepare import Prepared
from lorry.plan.compare import SideBySide
from lorry.plan.compare_words import bought, by_hand, cells, titles
from lorry.plan.findings import SEVERITIES, Finding
from lorry.plan.fit import Fit
from lorry.plan.offers import Ranked
from lorry.plan.plan import Plan
from lorry.plan.planner import Estimate
from lorry.plan.subject import UnavailableError
from lorry.plan.words import facts, price, sits
from lorry.recipe.name import experiment_name
from lorry.report.bar_chart import Mark, Part, RangeBar, StackedBar, histogram, range_bars, stacked_bars
from lorry.report.template import render

_GPUS, _BARS, _ROWS = 5, 12, 40
"""How many GPUs' memory, costs and offers are shown."""
_KINDS = {
    "model": ("weights", "quantised weights", "constants", "16-bit weights", "reward models"),
    "trained": ("adapter", "gradients", "optimizer", "copies for checkpoints"),
    "passing": ("activations", "logits and loss", "keys and values of answers", "vLLM", "rewards of answers"),
    "beside": ("CUDA itself", "libraries", "fragmentation", "holes in the heap"),
}
"""Parts of memory that are of one kind, and share a colour in some shades: those that never stand together may have one."""
_SHADES = 4

Chart = tuple[str, str, str]
"""Its title, its markup, and the words below it."""


def plan_page(plan: Plan, comparison: SideBySide | None = None) -> str:
    """The whole page, with providers side by side where they are compared.

    The template engine cleans and escapes every text; only the charts, drawn here, are markup.
    """
    estimate = plan.estimate
    prepared = _prepared(plan)
    told = [one for one in plan.findings if one.severity != "note"]
    charts = [*_lengths(plan, prepared), *(_estimated(estimate) if estimate else ())]
    return render(
        "plan_page.html",
        title=experiment_name(plan.subject.recipe),
        can_start=plan.exit_code == 0,
        headline=_headline(estimate, plan.no_estimate),
        tally=_tally(plan.findings),
        facts=facts(plan.subject, estimate) if estimate else [],
        findings=told,
        notes=[one for one in plan.findings if one.severity == "note"],
        charts=charts,
        compared=_compared(comparison) if comparison else None,
        memory=_memory_table(estimate) if estimate else None,
        offers=[_offer(one, estimate) for one in _shown(estimate)] if estimate else [],
        by_hand=_by_hand(_shown(estimate)) if estimate else {},
        left=len(estimate.offers) + 1 - len(_shown(estimate)) if estimate else 0,
    )


def _compared(found: SideBySide) -> dict[str, Any]:
    return {
        "titles": [title for title, _ in titles(found.by)],
        "rows": [cells(one, found.by) for one in found.rows],
        "by_hand": by_hand(found),
        "buying": bought(found.buying, found.by) if found.buying else "",
    }


def _prepared(plan: Plan) -> Prepared | None:
    """The rendered rows; None where they cannot be had, which a finding tells."""
    try:
        return plan.subject.prepared
    except UnavailableError:
        return None


def _headline(estimate: Estimate | None, reason: str) -> str:
    if estimate is None:
        return f"No estimate of memory, time and cost: {reason}"
    best = next((one for one in estimate.offers if one.fits), None)
    here = estimate.here
    told = _takes(here) if here.fits else f"{here.offer.provider}: {'; '.join(here.reasons)}"
    return f"{told}; best offer: {_takes(best)}" if best else told


def _takes(one: Ranked) -> str:
    """An offer with its likely time and cost: `this computer, processor: about 7 min 37 s and $0.0057`."""
    if one.cost is None:
        return one.offer.name
    spent = f"about {units.duration(one.cost.elapsed.likely)} and {units.cents(one.cost.total.likely)}"
    return f"{one.offer.name}: {spent}"


def _tally(findings: Sequence[Finding]) -> str:
    """`1 error, 2 warnings, 3 notes`."""
    counts = {name: sum(one.severity == name for one in findings) for name in SEVERITIES}
    said = [f"{count} {name}{'' if count == 1 else 's'}" for name, count in counts.items() if count]
    return ", ".join(said) or "nothing was found"


def _lengths(plan: Plan, prepared: Prepared | None) -> Iterator[Chart]:
    if prepared is None or not len(prepared.train):
        return
    title, limit = "Lengths of the training rows", plan.subject.recipe.data.max_length
    mark = Mark(limit, f"max_length {units.count(limit)}")
    drawn = histogram(prepared.train.lengths, title=title, x_label="tokens", y_label="rows", mark=mark)
    yield title, drawn, _measured(prepared.facts.train, limit)


def _measured(rows: SplitFacts, limit: int) -> str:
    marks = {"shortest": "p0", "median": "p50", "longest": "p100"}
    told = ", ".join(f"{name} {units.count(rows.lengths[mark])}" for name, mark in marks.items())
    many = rows.cut_rows != 1
    cut = f"{units.count(rows.cut_rows)} {'were' if many else 'was'} longer and lost {'their' if many else 'its'} end"
    limited = f"max_length is {units.count(limit)}: {cut if rows.cut_rows else 'none was longer'}"
    return f"{units.count(rows.examples)} rows as the trainer sees them, in tokens: {told}. {limited}."


def _estimated(estimate: Estimate) -> Iterator[Chart]:
    bars = [
        StackedBar(
            name, list(_parts(found.memory.device)), room, f"{units.size(found.memory.peak)} of {units.size(room)}"
        )
        for name, found, room in _devices(estimate)
    ]
    how = "; ".join(f"{name}: {sits(found)}" for name, found, _ in _devices(estimate) if sits(found))
    yield "Memory", stacked_bars(bars, title="Memory by part, at its peak"), f"{how}." if how else ""
    costs = [
        RangeBar(one.offer.name, total.low, total.likely, total.high, _usd(one))
        for one in [estimate.here, *estimate.offers]
        if one.fits and one.cost and (total := one.cost.total)
    ][: _BARS + 1]
    said = "From low to high, with a line at the likely cost of a run; a monthly fee counts whole."
    if costs:
        yield "Cost", range_bars(costs, title="Cost of a run by offer", unit=units.cents), said


def _devices(estimate: Estimate) -> list[tuple[str, Fit, int]]:
    """What is at hand and the first GPUs that fit: name, how the run sits there, and bytes of memory."""
    found = {"this computer": (estimate.fit_of(estimate.here.offer), estimate.here.offer.memory)}
    for one in estimate.offers:
        if one.fits and one.offer.gpu is not None and len(found) <= _GPUS:
            found.setdefault(one.offer.gpu.name, (estimate.fit_of(one.offer), one.offer.memory))
    return [(name, fit, room) for name, (fit, room) in found.items()]


def _parts(sizes: dict[str, int]) -> Iterator[Part]:
    for name, size in sizes.items():
        yield Part(name, _kind(name), size)


def _kind(name: str) -> str:
    for kind, names in _KINDS.items():
        if name in names:
            return f"{kind} shade{names.index(name) % _SHADES}"
    return "beside"


def _memory_table(estimate: Estimate) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Devices, and a row for each part with what it takes on each of them."""
    devices = _devices(estimate)
    names = dict.fromkeys(part for _, found, _ in devices for part in found.memory.device)
    rows = [(name, [_size(found.memory.device.get(name)) for _, found, _ in devices]) for name in names]
    total = ("all", [_size(found.memory.peak) for _, found, _ in devices])
    beside = ("beside, of the machine's own", [_size(sum(found.memory.host.values())) for _, found, _ in devices])
    return [name for name, _, _ in devices], [*rows, total, beside]


def _size(count: int | None) -> str:
    return units.size(count) if count else "–"


def _shown(estimate: Estimate) -> list[Ranked]:
    return [estimate.here, *[one for one in estimate.offers if one.fits][:_ROWS]]


def _offer(one: Ranked, estimate: Estimate) -> dict[str, str]:
    notes = [*one.reasons, *one.warnings, "interruptible" if one.offer.interruptible else ""]
    return {
        "name": one.offer.name,
        "price": price(one.offer),
        "memory": units.size(estimate.fit_of(one.offer).memory.peak),
        "time": units.duration(one.cost.elapsed.likely) if one.cost else "–",
        "cost": units.cents(one.cost.total.likely) if one.cost else "–",
        "range": _range(one),
        "as_of": one.offer.as_of,
        "notes": "; ".join(filter(None, notes)),
    }


def _by_hand(shown: Sequence[Ranked]) -> dict[str, str]:
    """What each provider leaves to the person, by its name and kind of machine."""
    return {f"{one.offer.provider} {one.offer.tier}".strip(): one.offer.by_hand for one in shown if one.offer.by_hand}


def _range(one: Ranked) -> str:
    if one.cost is None:
        return "–"
    return f"{units.cents(one.cost.total.low)} – {units.cents(one.cost.total.high)}"


def _usd(one: Ranked) -> str:
    return f"{units.cents(one.cost.total.likely)} ({_range(one)})" if one.cost else "–"
