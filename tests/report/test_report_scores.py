"""Verdicts: what the intervals allow, and nothing more."""

from __future__ import annotations

import pytest

from lorry.report.scores import Comparison, Interval, comparisons


def compared(base: tuple[float, float], adapter: tuple[float, float], higher: bool | None) -> Comparison:
    def around(low: float, high: float) -> Interval:
        return Interval((low + high) / 2, low, high)

    return Comparison("m", around(*base), around(*adapter), higher)


@pytest.mark.parametrize(
    ("base", "adapter", "higher", "verdict"),
    [
        ((0.0, 0.1), (0.8, 1.0), True, "better"),
        ((0.8, 1.0), (0.0, 0.1), True, "worse"),
        ((3.0, 3.2), (0.4, 0.6), False, "better"),
        ((0.4, 0.6), (3.0, 3.2), False, "worse"),
        ((0.4, 0.6), (0.5, 0.9), True, "not distinguishable"),
        ((0.4, 0.6), (0.6, 0.9), True, "not distinguishable"),
        ((0.0, 0.1), (0.8, 1.0), None, "not compared"),
    ],
)
def test_verdict_needs_intervals_that_do_not_overlap(
    base: tuple[float, float], adapter: tuple[float, float], higher: bool | None, verdict: str
):
    assert compared(base, adapter, higher).verdict == verdict


def test_sentence_carries_both_numbers_and_the_reason():
    assert compared((0.0, 0.1), (0.8, 1.0), higher=True).sentence == (
        "m: adapter 0.9000 (0.8000 to 1.0000), base model 0.0500 (0 to 0.1000): better, the intervals do not overlap"
    )


def test_score_without_interval_or_base_is_not_compared():
    raw = {
        "scores": {
            "one_row": {
                "base": {"value": 0.1, "low": None, "high": None},
                "adapter": {"value": 0.9, "low": 0.8, "high": 1},
            },
            "no_base": {"base": None, "adapter": {"value": 0.9, "low": 0.8, "high": 1}},
            "nothing": {"base": None, "adapter": {"value": float("nan")}},
        }
    }
    found = comparisons(raw, {"one_row": True, "no_base": True, "nothing": True})
    assert [one.verdict for one in found] == ["not compared"] * 3
    assert [one.sentence for one in found] == [
        "one_row: adapter 0.9000 (0.8000 to 1.0000), base model 0.1000: not compared",
        "no_base: adapter 0.9000 (0.8000 to 1.0000), with nothing to compare it to",
        "nothing: none",
    ]
