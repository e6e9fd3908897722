"""A plan as JSON: what `lorry plan --json` prints, and what a run's `plan.json` keeps."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from lorry.plan.buying import Buying
from lorry.plan.compare import Comparison, SideBySide
from lorry.plan.fit import Fit
from lorry.plan.memory import Memory
from lorry.plan.offers import Ranked
from lorry.plan.plan import Plan
from lorry.plan.ranges import Range
from lorry.recipe.name import experiment_name


def plan_json(plan: Plan) -> dict[str, Any]:
    """Findings, and, where there is an estimate: tokens, memory, time and cost of this computer, offers, what is expected.

    `about` says what stands in for a model that cannot be had. Memory is in bytes, time in seconds, money in US dollars; ranges
    are low, likely and high.
    """
    said = {
        "name": experiment_name(plan.subject.recipe),
        "exit_code": plan.exit_code,
        "findings": [asdict(finding) for finding in plan.findings],
    }
    estimate = plan.estimate
    if estimate is None:
        return {**said, "no_estimate": plan.no_estimate}
    here = estimate.here.cost
    return {
        **said,
        "about": plan.subject.about,
        "tokens": asdict(estimate.tokens),
        "memory": {name: _fit_json(one) for name, one in estimate.fits.items()},
        "time": asdict(here.elapsed) if here else None,
        "cost": asdict(here.total) if here else None,
        "expected": estimate.expected.as_json() if estimate.expected else None,
        "offers": [_offer_json(one) for one in [estimate.here, *estimate.offers]],
    }


def comparison_json(found: SideBySide) -> dict[str, Any]:
    """Providers side by side: money in US dollars, time in seconds, ranges as low, likely and high."""
    return {
        "yardstick": asdict(found.by),
        "providers": [_compared_json(one) for one in found.rows],
        "buying": _buying_json(found.buying) if found.buying else None,
    }


def _compared_json(one: Comparison) -> dict[str, Any]:
    figures = {name: getattr(one, name) for name in ("per_run", "alone", "per_adapter", "gain")}
    offer = one.best.offer if one.best else None
    return {
        "provider": one.provider,
        "fits": one.fits,
        "reason": one.reason,
        "best": _offer_json(one.best) if one.best else None,
        "monthly_fee": offer.terms.monthly_fee if offer else None,
        "session_hours": offer.terms.session_hours if offer else None,
        "by_hand": offer.by_hand if offer else "",
        "runs": one.runs,
        **{name: asdict(value) if value else None for name, value in figures.items()},
    }


def _buying_json(found: Buying) -> dict[str, Any]:
    return {
        "gpu": found.gpu.name,
        "usd": found.purchase.usd,
        "usd_per_hour": found.purchase.per_hour,
        "instead_of": found.rented.name,
        "rent_per_hour": found.rented.usd_per_hour.likely,
        "break_even_hours": found.hours,
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
