"""Scores of the base model and of the adapter side by side, each with a verdict that says what the intervals allow."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from lorry import units
from lorry.report.sources import mapping

Verdict = Literal["better", "worse", "not distinguishable", "not compared"]


@dataclass(frozen=True, slots=True)
class Interval:
    """A score with its 95 % interval; without one the bounds are None."""

    value: float
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return units.value(self.value)
        return f"{units.value(self.value)} ({units.value(self.low)} to {units.value(self.high)})"


@dataclass(frozen=True, slots=True)
class Comparison:
    """One metric on one split."""

    metric: str
    base: Interval | None
    adapter: Interval | None
    higher_is_better: bool | None

    @property
    def verdict(self) -> Verdict:
        """Better or worse only where the two intervals do not overlap."""
        base, adapter = self.base, self.adapter
        if base is None or adapter is None or self.higher_is_better is None:
            return "not compared"
        if None in (base.low, base.high, adapter.low, adapter.high):
            return "not compared"
        above = adapter.low > base.high  # type: ignore[operator]
        below = adapter.high < base.low  # type: ignore[operator]
        if not above and not below:
            return "not distinguishable"
        return "better" if above == self.higher_is_better else "worse"

    @property
    def sentence(self) -> str:
        """The verdict in words, with the numbers that it rests on."""
        if self.base is None or self.adapter is None:
            known = self.adapter or self.base
            whose = "adapter" if self.adapter else "base model"
            return f"{self.metric}: {whose} {known}, with nothing to compare it to" if known else f"{self.metric}: none"
        numbers = f"{self.metric}: adapter {self.adapter}, base model {self.base}"
        return f"{numbers}: {_REASONS[self.verdict]}"


_REASONS: dict[Verdict, str] = {
    "better": "better, the intervals do not overlap",
    "worse": "worse, the intervals do not overlap",
    "not distinguishable": "not distinguishable, the intervals overlap",
    "not compared": "not compared",
}


def comparisons(split: Mapping[str, Any], directions: Mapping[str, bool]) -> list[Comparison]:
    """All metrics of one split of `eval/scores.json`, in its order."""
    found: list[Comparison] = []
    for metric, pair in mapping(split.get("scores")).items():
        both = mapping(pair)
        base, adapter = _interval(both.get("base")), _interval(both.get("adapter"))
        found.append(Comparison(str(metric), base, adapter, directions.get(metric)))
    return found


def _interval(raw: Any) -> Interval | None:
    numbers = {key: _number(mapping(raw).get(key)) for key in ("value", "low", "high")}
    value = numbers["value"]
    return None if value is None else Interval(value, numbers["low"], numbers["high"])


def _number(raw: Any) -> float | None:
    return float(raw) if isinstance(raw, (int, float)) and math.isfinite(raw) else None
