"""Intervals cover what they should, and say nothing where nothing can be said."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lorry.evaluate import bootstrap
from lorry.evaluate.bootstrap import Interval, mean, perplexity, ratio, wilson

SHARE = (0.0, 1.0)


def test_no_rows_have_no_interval() -> None:
    assert mean([]) is None
    assert ratio([], []) is None
    assert wilson(0, 0) is None


def test_one_row_has_a_value_and_no_bounds() -> None:
    assert mean([0.4]) == Interval(0.4, None, None)
    assert ratio([6.0], [3]) == Interval(2.0, None, None)


def test_scores_that_are_all_one_get_wilsons_interval() -> None:
    found = mean([1.0] * 20, within=SHARE)
    # 20 of 20: 0.8389, from Wilson's formula by hand: 20 / (20 + 1.96^2).
    assert found is not None
    assert found.low == pytest.approx(20 / (20 + bootstrap.Z95**2))
    assert (found.value, found.high) == (1.0, 1.0)


def test_scores_that_are_all_zero_get_wilsons_interval() -> None:
    found = mean([0.0] * 5, within=SHARE)
    assert found is not None
    assert found.low == 0.0
    assert found.high == pytest.approx(bootstrap.Z95**2 / (5 + bootstrap.Z95**2))


def test_one_row_that_is_right_has_no_bounds_either() -> None:
    assert mean([1.0], within=SHARE) == Interval(1.0, None, None)


def test_equal_scores_of_known_range_are_as_sure_as_so_many_rows_can_be() -> None:
    found = mean([0.3] * 50, within=SHARE)
    others = bootstrap.Z95**2 / (50 + bootstrap.Z95**2)  # Wilson's upper bound of 0 of 50: 7.1 %
    assert found is not None
    assert found.value == pytest.approx(0.3)
    assert found.low == pytest.approx(0.3 * (1 - others))
    assert found.high == pytest.approx(0.3 + 0.7 * others)


@pytest.mark.parametrize("within", [None, (2.5, 2.5)])
def test_equal_scores_of_which_no_range_is_known_have_no_bounds(within: tuple[float, float] | None) -> None:
    assert mean([2.5] * 50, within=within) == Interval(2.5, None, None)


@pytest.mark.parametrize("rows", [2, 5, 128])
@pytest.mark.parametrize("value", [0.0, 1 / 3, 2 / 3, 1.0])
def test_equal_scores_hold_the_value_stay_in_range_and_tell_more_the_more_there_are(value: float, rows: int) -> None:
    few, many = mean([value] * rows, within=SHARE), mean([value] * (rows + 1), within=SHARE)
    assert few is not None
    assert many is not None
    assert None not in (few.low, few.high, many.low, many.high)
    assert 0.0 <= few.low <= many.low <= value <= many.high <= few.high <= 1.0  # type: ignore[operator]
    assert few.low < few.high  # type: ignore[operator]


@pytest.mark.parametrize(("wrong", "is_wilson"), [(1, True), (9, True), (10, False), (50, False)])
def test_share_that_few_rows_keep_from_all_or_none_gets_wilsons_interval(wrong: int, is_wilson: bool) -> None:
    for scores in ([1.0] * (100 - wrong) + [0.0] * wrong, [0.0] * (100 - wrong) + [1.0] * wrong):
        assert (mean(scores, within=SHARE) == wilson(int(sum(scores)), 100)) is is_wilson


def test_scores_between_0_and_1_are_no_shares() -> None:
    scores = [1.0] * 98 + [0.5, 0.0]
    assert mean(scores, within=SHARE) == ratio(scores, [1] * 100)


@pytest.mark.parametrize(("rows", "worst"), [(40, 0.85), (100, 0.90)])
def test_shares_near_1_are_covered_better_than_by_resamples_alone(rows: int, worst: float) -> None:
    """Exactly: the interval of each number of right rows, by how likely that number is."""
    scores = [[1.0] * right + [0.0] * (rows - right) for right in range(rows + 1)]
    ways = [[mean(one, within=SHARE) for one in scores], [ratio(one, [1] * rows) for one in scores]]
    shares = np.linspace(0.9, 0.999, 100)
    ours, resampled = ([_covered(way, share) for share in shares] for way in ways)
    assert min(ours) >= worst
    assert np.mean(ours) >= 0.95 > np.mean(resampled)
    assert min(resampled) < 0.1, "all right of so many would be all that there is"


def _covered(intervals: list[Interval | None], share: float) -> float:
    """How likely an interval covers the true share."""
    rows, covered = len(intervals) - 1, 0.0
    for right, one in enumerate(intervals):
        if one is not None and one.low is not None and one.high is not None and one.low <= share <= one.high:
            covered += math.comb(rows, right) * share**right * (1 - share) ** (rows - right)
    return covered


def test_the_same_seed_gives_the_same_interval() -> None:
    scores = np.random.default_rng(0).random(40).tolist()
    assert mean(scores, seed=3) == mean(scores, seed=3) != mean(scores, seed=4)


def test_ratio_weighs_rows_by_their_tokens() -> None:
    found = ratio([10.0, 1.0], [10, 100])
    assert found is not None
    assert found.value == pytest.approx(11 / 110)


def test_losses_that_are_all_alike_have_no_bounds() -> None:
    assert ratio([2.0, 4.0, 6.0], [1, 2, 3]) == Interval(2.0, None, None)


def test_rows_without_tokens_do_not_count() -> None:
    assert ratio([1.0, 0.0, 3.0], [1, 0, 1]) == ratio([1.0, 3.0], [1, 1])


def test_interval_covers_the_true_mean_about_95_times_of_100() -> None:
    draw = np.random.default_rng(5)
    found = [mean((draw.random(60) < 0.3).astype(float).tolist(), seed=turn) for turn in range(300)]
    covered = sum(
        one is not None and one.low is not None and one.high is not None and one.low <= 0.3 <= one.high for one in found
    )
    assert 0.90 <= covered / 300 <= 0.98


def test_bootstrap_agrees_with_the_normal_interval_on_many_rows() -> None:
    scores = np.random.default_rng(1).normal(2, 1, 2000)
    half = 1.96 * scores.std() / math.sqrt(2000)
    found = mean(scores.tolist())
    assert found is not None
    assert found.low == pytest.approx(scores.mean() - half, abs=0.01)
    assert found.high == pytest.approx(scores.mean() + half, abs=0.01)


def test_perplexity_keeps_the_order_of_the_bounds_and_never_overflows() -> None:
    found = Interval(1.0, 0.5, 2.0).mapped(perplexity)
    assert found == Interval(math.e, math.exp(0.5), math.exp(2.0))
    assert math.isfinite(perplexity(1e6))
