"""What came out of a run, as one JSON object; pure: the same sources give the same summary."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict
from statistics import mean, median
from typing import Any

from lorry import units
from lorry.plan.expected import from_json
from lorry.report import gates
from lorry.report.incidents import incidents
from lorry.report.scores import Comparison, comparisons
from lorry.report.sources import Sources, mapping
from lorry.track.events import Event
from lorry.track.state import RunState

SMOKE_CHECKS = ("checkpoint loads", "memory as expected")
"""What a smoke run must have checked, besides its loss; each is an event of the kind `smoke`."""


def summarise(sources: Sources) -> dict[str, Any]:
    """The summary: status, losses, speed, memory, adapter, scores with verdicts, incidents; None where unknown."""
    now, recipe = sources.now, sources.recipe
    smoke = bool(sources.resolved.get("smoke"))
    return {
        "run": sources.run,
        "name": recipe.get("name"),
        "status": now.status,
        "model": mapping(recipe.get("model")).get("id"),
        "method": mapping(recipe.get("method")).get("name"),
        "smoke": smoke,
        "step": now.step,
        "steps": now.steps,
        "attempts": now.attempt,
        "created_at": units.moment(now.created_at) if now.created_at is not None else None,
        "seconds": _seconds(now),
        "planned": _planned(sources),
        "loss": _course(now.records),
        "eval_loss": _course(now.evaluations),
        "best": _best(sources),
        "reward": _course(now.records, "reward", max),
        "eval_reward": _course(now.evaluations, "reward", max),
        "tokens": _tokens(now),
        "peak_memory_bytes": _peak_memory(now),
        "saves": {"count": len(now.pauses), "pause_seconds": median(now.pauses) if now.pauses else None},
        "cost_usd": _cost(sources),
        "machines": _machines(now),
        "data": now.latest.get("data"),
        "adapter": _adapter(sources),
        "scores": _scores(sources),
        "gates": [{**one, "sentence": gates.sentence(one)} for one in gates.listed(sources.scores.get("gates"))],
        "dangerous": sources.scores.get("dangerous", []),
        "inference_tokens_per_second": sources.scores.get("tokens_per_second"),
        "incidents": incidents(sources),
        "notes": [*now.notes, *(str(note) for note in sources.scores.get("notes") or [])],
        "error": now.latest.get("failed"),
        "verdict": smoke_verdict(now) if smoke else None,
    }


def split_comparisons(sources: Sources) -> dict[str, list[Comparison]]:
    """The comparisons of each split that was scored."""
    splits = mapping(sources.scores.get("splits"))
    return {str(name): comparisons(mapping(split), sources.directions) for name, split in splits.items()}


def smoke_verdict(now: RunState) -> dict[str, Any]:
    """Whether a smoke run shows what it should: it learns, the checkpoint loads, memory is as expected."""
    rolls_out = any("reward" in record.data for record in now.records.values())
    checks = [_are_numbers(now) if rolls_out else _loss_fell(now)]
    done = {str(check["check"]): check for check in now.smoke_checks}
    for name in SMOKE_CHECKS:
        missing = {"check": name, "passed": False, "message": "was not checked"}
        checks.append({key: done.get(name, missing)[key] for key in ("check", "passed", "message")})
    return {"passed": now.status == "finished" and all(check["passed"] for check in checks), "checks": checks}


def _loss_fell(now: RunState) -> dict[str, Any]:
    """Compares the first third of the recorded steps with the last third, since single steps are noisy."""
    losses = [float(now.records[step].data["loss"]) for step in sorted(now.records)]
    if len(losses) < 2:
        return {"check": "loss fell", "passed": False, "message": "too few steps were recorded"}
    third = max(len(losses) // 3, 1)
    first, last = mean(losses[:third]), mean(losses[-third:])
    message = f"from {units.value(first)} to {units.value(last)} (means of {third} steps)"
    return {"check": "loss fell", "passed": last < first, "message": message}


def _are_numbers(now: RunState) -> dict[str, Any]:
    """Of a method whose loss does not fall: it learns from its own answers, which are others at each step."""
    name = "losses and rewards are numbers"
    figures = {step: (record.data.get("loss"), record.data.get("reward")) for step, record in now.records.items()}
    wrong = [step for step, both in sorted(figures.items()) if not all(_is_number(one) for one in both)]
    message = f"not at step {wrong[0]}" if wrong else f"at all of {len(figures)} steps"
    return {"check": name, "passed": not wrong, "message": message}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _seconds(now: RunState) -> dict[str, float | None]:
    total = None if now.created_at is None or now.updated_at is None else now.updated_at - now.created_at
    return {"total": total, "training": now.latest.get("trained", {}).get("seconds")}


def _planned(sources: Sources) -> dict[str, float | None] | None:
    """Seconds that the plan expected, and what the run said itself after its first steps; None without an estimate."""
    expected = from_json(sources.plan.get("expected"))
    if expected is None:
        return None
    said = sources.now.latest.get("forecast", {}).get("seconds")
    total = expected.total
    return {"low": total.low, "likely": total.likely, "high": total.high, "after_first_steps": said}


def _course(
    records: dict[int, Event], name: str = "loss", best_of: Callable[..., tuple[int, float]] = min
) -> dict[str, Any] | None:
    """First, final and best loss, or whatever is named, with their steps; None when none was recorded."""
    points = [(step, float(records[step].data[name])) for step in sorted(records) if name in records[step].data]
    finite = [point for point in points if math.isfinite(point[1])]
    if not finite:
        return None
    best = best_of(finite, key=lambda point: point[1])
    return {
        which: {"step": step, name: value}
        for which, (step, value) in {"first": finite[0], "final": points[-1], "best": best}.items()
    }


def _best(sources: Sources) -> dict[str, Any] | None:
    """The best evaluated step, with the score that makes it so; None where nothing was evaluated."""
    scores, by = {step: event.data for step, event in sources.now.evaluations.items()}, sources.best_by
    ranked = by.best_first(scores)
    return {"step": ranked[0], "by": by.name, "value": float(scores[ranked[0]][by.name])} if ranked else None


def _tokens(now: RunState) -> dict[str, Any]:
    speeds = [float(record.data.get("tokens_per_second") or 0) for record in now.records.values()]
    return {
        "trained": now.latest.get("trained", {}).get("tokens"),
        "per_second": median(speeds) if speeds else None,
    }


def _peak_memory(now: RunState) -> int | None:
    return max((int(record.data.get("memory_bytes") or 0) for record in now.records.values()), default=0) or None


def _machines(now: RunState) -> list[dict[str, Any]]:
    """The machines that were rented for it, in order; none where it trained here."""
    return [
        {
            "machine": one.machine,
            "provider": one.provider,
            "id": one.id,
            "lease": lease,
            "usd_per_hour": one.usd_per_hour,
            "since": units.moment(one.since),
            "until": None if one.until is None else units.moment(one.until),
            "usd": one.cost(now.updated_at or one.since),
            "lost": one.lost or None,
            "handed_to": one.handed or None,
        }
        for lease, one in now.borrowed.items()
    ]


def _cost(sources: Sources) -> float | None:
    now = sources.now
    if (usd := now.usd(now.updated_at or 0.0)) is not None:
        return usd
    price = mapping(sources.recipe.get("budget")).get("price_per_hour")
    seconds = _seconds(sources.now)["total"]
    return float(price) * seconds / 3600 if price and seconds is not None else None


def _adapter(sources: Sources) -> dict[str, Any]:
    loaded = sources.now.latest.get("loaded", {})
    return {
        "bytes": sources.adapter_bytes,
        "parameters": loaded.get("trainable"),
        "model_parameters": loaded.get("parameters"),
        "delivered_step": sources.now.latest.get("delivered", {}).get("step"),
    }


def _scores(sources: Sources) -> dict[str, list[dict[str, Any]]]:
    return {
        split: [{**asdict(one), "verdict": one.verdict, "sentence": one.sentence} for one in found]
        for split, found in split_comparisons(sources).items()
    }
