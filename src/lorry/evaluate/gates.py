"""Gates: whether the adapter's scores are what the recipe asks for; one that cannot be told is missed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from lorry.recipe.gates import Gate

Json = dict[str, Any]

_ORDER = ("test", "eval")
"""Which rows count where a gate does not say: test rows are kept for this."""


def judged(gates: Iterable[Gate], splits: Mapping[str, Any], lacking: Mapping[str, str]) -> list[Json]:
    """Of each gate what was asked, what was reached with its interval, and whether it is met.

    `splits` are those of scores.json; `lacking` tells by score why there is none.
    """
    return [_judged(gate, splits, lacking) for gate in gates]


def missed(judged: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those that are not met."""
    return [one for one in judged if not one.get("met")]


def _judged(gate: Gate, splits: Mapping[str, Any], lacking: Mapping[str, str]) -> Json:
    """One gate; its numbers are null where there is no score."""
    asked: Json = {"score": gate.score, "asked": gate.asked, "split": gate.split}
    reached = {split: _reached(splits, split, gate.score) for split in ([gate.split] if gate.split else _order(splits))}
    split = next((name for name, one in reached.items() if one), None)
    interval = reached.get(split) if split else None
    if split is None or interval is None:
        why = lacking.get(gate.score) or _why(gate, splits)
        return {**asked, "reached": None, "low": None, "high": None, "met": False, "missed_by": None, "why": why}
    value = float(interval["value"])
    told = {"reached": value, "low": interval.get("low"), "high": interval.get("high")}
    return {**asked, "split": split, **told, "met": gate.is_met(value), "missed_by": gate.missed_by(value), "why": ""}


def _order(splits: Mapping[str, Any]) -> list[str]:
    """Test rows, evaluation rows, and whatever else was scored."""
    return [*(name for name in _ORDER if name in splits), *(name for name in splits if name not in _ORDER)]


def _reached(splits: Mapping[str, Any], split: str, score: str) -> Mapping[str, Any] | None:
    """The adapter's interval; None where it was not scored."""
    scores = cast("Mapping[str, Any]", splits.get(split) or {}).get("scores") or {}
    return cast("Mapping[str, Any]", scores.get(score) or {}).get("adapter")


def _why(gate: Gate, splits: Mapping[str, Any]) -> str:
    if gate.split and gate.split not in splits:
        return f"there are no {gate.split} rows"
    if not splits:
        return "there are no rows to score"
    return "it was not scored: it applies to no answer, or nothing gives it"
