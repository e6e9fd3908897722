"""Quantities known as low, likely and high."""

from __future__ import annotations

import math

import pytest

from lorry.plan.ranges import ZERO, Range


@pytest.mark.parametrize("values", [(2, 1, 3), (1, 3, 2), (0, 0, math.inf), (math.nan, 1, 2)])
def test_disordered_or_endless_range_is_refused(values: tuple[float, float, float]):
    with pytest.raises(ValueError, match="a range"):
        Range(*values)


def test_ranges_add_with_each_other_and_with_numbers():
    assert Range(1, 2, 3) + Range(10, 20, 30) == Range(11, 22, 33)
    assert 5 + Range(1, 2, 3) == Range(6, 7, 8)
    assert sum([Range(1, 2, 3), Range(1, 1, 1)], ZERO) == Range(2, 3, 4)


def test_ranges_multiply_with_each_other_and_with_numbers():
    assert Range(1, 2, 3) * Range(2, 3, 4) == Range(2, 6, 12)
    assert 2 * Range(1, 2, 3) == Range(2, 4, 6)


@pytest.mark.parametrize(("one", "other"), [(Range(-1, 1, 2), 2.0), (Range(1, 1, 2), -2.0)])
def test_product_with_a_negative_is_refused(one: Range, other: float):
    with pytest.raises(ValueError, match="not negative"):
        _ = one * other


def test_map_and_what_is_left_keep_the_order():
    assert Range(0.2, 1.5, 2.1).map(math.ceil) == Range(1, 2, 3)
    assert Range(1, 2, 5).taken_from(4) == Range(-1, 2, 3)


def test_known_quantity_is_exact():
    assert Range.exact(3).is_exact
    assert not Range(1, 1, 2).is_exact
