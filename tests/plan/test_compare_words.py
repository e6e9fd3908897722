"""Providers side by side, in words."""

from __future__ import annotations

import pytest

from lorry.plan.buying import buying
from lorry.plan.compare import Yardstick, compare
from lorry.plan.compare_words import bought, cells, titles
from lorry.plan.cost import Terms
from plan.test_compare import GB, offer, ranked


@pytest.mark.parametrize("by", [Yardstick(), Yardstick(budget=5), Yardstick(value=5), Yardstick(budget=5, value=5)])
def test_every_row_has_a_cell_for_each_column(by: Yardstick):
    fits, misses = ranked(offer("runpod", 0.5)), ranked(offer("vast", 0.5, "T4"), memory=90 * GB)
    rows = [cells(one, by) for one in compare([*fits, *misses], ["runpod", "vast", "azure"], by)]
    assert [len(row) for row in rows] == [len(titles(by))] * 3
    assert all(all(row) for row in rows)


def test_free_runs_are_as_many_as_one_likes():
    (found,) = compare(ranked(offer("colab", 0)), ["colab"], Yardstick(budget=5))
    assert "any" in cells(found, Yardstick(budget=5))


def test_monthly_fee_is_the_price_and_the_note_tells_of_a_single_run():
    colab = offer("colab", 0.5, terms=Terms(monthly_fee=9.99, included=9.99, session_hours=12))
    (found,) = compare(ranked(colab), ["colab"], Yardstick())
    row = cells(found, Yardstick())
    assert "$9.99 a month, 12 h a session" in row
    assert row[-1] == "$9.99 for the month's only run"


@pytest.mark.parametrize(
    ("by", "price", "told"),
    [
        (Yardstick(buy=1800), 0.5, "$1,800 are earned back after 5,625 hours of training (234 days day and night)"),
        (Yardstick(), 0.5, "each $1,000 of its price is earned back after 3,125 hours"),
        (Yardstick(), 0.19, "(11.4 years day and night)"),
        (Yardstick(), 0.1, "never pays"),
    ],
)
def test_buying_is_told_with_what_it_is_measured_against(by: Yardstick, price: float, told: str):
    found = buying(ranked(offer("runpod", price)), by.buy or 1000)
    assert found is not None
    assert told in bought(found, by)
    assert "runpod, RTX 4090" in bought(found, by)
