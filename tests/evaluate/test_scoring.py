"""Both sides of a score, with bounds that say no more than is known."""

from __future__ import annotations

from typing import Any

import pytest

from lorry.evaluate import bootstrap
from lorry.evaluate.scoring import means_of

OTHERS = bootstrap.Z95**2 / (40 + bootstrap.Z95**2)
"""How many rows may score otherwise where all of 40 score alike: 8.8 %."""


def side(value: float, low: float | None, high: float | None) -> Any:
    return pytest.approx({"value": value, "low": low, "high": high})


def test_metric_that_all_answers_score_alike_is_bounded_by_0_and_1():
    found = means_of({"base": [0.0] * 40, "adapter": [0.5] * 40})
    assert found is not None
    assert found["base"] == side(0.0, 0.0, OTHERS)
    assert found["adapter"] == side(0.5, 0.5 - 0.5 * OTHERS, 0.5 + 0.5 * OTHERS)


def test_reward_that_all_answers_get_is_bounded_by_what_either_side_got():
    found = means_of({"base": [-1.0, 3.0] * 20, "adapter": [2.0] * 40}, None)
    assert found is not None
    assert found["adapter"] == side(2.0, 2.0 - 3.0 * OTHERS, 2.0 + 1.0 * OTHERS)


def test_reward_that_all_answers_of_both_sides_get_has_no_bounds():
    found = means_of({"base": [2.0] * 40, "adapter": [2.0] * 40}, None)
    assert found is not None
    assert found["base"] == found["adapter"] == {"value": 2.0, "low": None, "high": None}


def test_score_that_applies_to_no_answer_is_left_out():
    assert means_of({"base": [None], "adapter": [None]}) is None
