"""Numbers as people read them."""

from __future__ import annotations

import pytest

from lorry import units


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.024, "24 ms"),
        (0.44, "0.4 s"),
        (12.4, "12 s"),
        (59.7, "1 min"),
        (200, "3 min 20 s"),
        (7500, "2 h 5 min"),
        (356400, "4 d 3 h"),
        (-3, "0.0 s"),
        (float("inf"), "?"),
    ],
)
def test_duration_is_in_two_units_at_most(seconds: float, text: str):
    assert units.duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(512, "512 B"), (9_800_000, "9.8 MB"), (1.25e9, "1.25 GB"), (3e12, "3.00 TB")]
)
def test_size_is_decimal(count: float, text: str):
    assert units.size(count) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [(None, "-"), (0, "0"), (1.23456, "1.2346"), (1e-5, "1.000e-05"), (1234.5, "1,234.50"), (float("nan"), "nan")],
)
def test_value_has_four_digits_and_names_what_is_no_number(number: float | None, text: str):
    assert units.value(number) == text


@pytest.mark.parametrize(
    ("dollars", "text"),
    [
        (0.00423, "$0.0042"),
        (0.01, "$0.010"),
        (0.0999, "$0.10"),
        (0.00999, "$0.010"),
        (0.42, "$0.42"),
        (1e-9, "$0.00"),
        (-5, "-$5.00"),
    ],
)
def test_cents_show_what_is_less_than_one(dollars: float, text: str):
    assert units.cents(dollars) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0 s"), (59.9, "59 s"), (61, "1 min"), (7300, "2 h"), (100_000, "27 h"), (864_000, "10 d")],
)
def test_age_is_in_its_largest_unit(seconds: float, text: str):
    assert units.age(seconds) == text


def test_rate_money_count_and_moment_read_naturally():
    assert [units.rate(3.412), units.rate(522.4), units.money(0.421), units.count(11661)] == [
        "3.41",
        "522",
        "$0.42",
        "11,661",
    ]
    assert units.moment(1767450652) == "2026-01-03 14:30:52"
