"""Intervals cover what they should, and say nothing where nothing can be said."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lorry.evaluate import bootstrap
from lorry.evaluate.bootstrap import Interval, mean, perplexity, ratio, wilson


def test_no_rows_have_no_interval() -> None:
    assert mean([]) is None
    assert ratio([], []) is None
    assert wilson(0, 0) is None


def test_one_row_has_a_value_and_no_bounds() -> None:
    assert mean([0.4]) == Interval(0.4, None, None)
    assert ratio([6.0], [3]) == Interval(2.0, None, None)


def test_scores_that_are_all_one_get_wilsons_interval() -> None:
    found = mean([1.0] * 20)
    # 20 of 20: 0.8389, from Wilson's formula by hand: 20 / (20 + 1.96^2).
    assert found is not None
    assert found.low == pytest.approx(20 / (20 + bootstrap.Z95**2))
    assert (found.value, found.high) == (1.0, 1.0)


def test_scores_that_are_all_zero_get_wilsons_interval() -> None:
    found = mean([0.0] * 5)
    assert found is not None
    assert found.low == 0.0
    assert found.high == pytest.approx(bootstrap.Z95**2 / (5 + bootstrap.Z95**2))


def test_equal_scores_that_are_no_shares_have_a_narrow_interval() -> None:
    found = mean([0.3] * 50)
    assert found is not None
    assert found.low == pytest.approx(0.3)
    assert found.high == pytest.approx(0.3)


def test_the_same_seed_gives_the_same_interval() -> None:
    scores = np.random.default_rng(0).random(40).tolist()
    assert mean(scores, seed=3) == mean(scores, seed=3) != mean(scores, seed=4)


def test_ratio_weighs_rows_by_their_tokens() -> None:
    found = ratio([10.0, 1.0], [10, 100])
    assert found is not None
    assert found.value == pytest.approx(11 / 110)


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
