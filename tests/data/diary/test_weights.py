"""How much entries count, and which rows are drawn."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from lorry.data.diary.weights import Weighing, number_of_rows, strongest, subject_of

DAY = 86_400.0


def test_weight_halves_with_each_half_life():
    at = np.array([0.0, 10.0, 20.0, 99.0]) * DAY
    found = Weighing(half_life=10, balance=0).weights(at, ["a"] * 4, now=20 * DAY)
    assert found.tolist() == pytest.approx([0.25, 0.5, 1.0, 1.0])


def test_without_a_half_life_old_entries_count_as_new_ones():
    assert Weighing(None, 0).weights(np.array([0.0, 1e9]), ["a", "b"], now=1e9).tolist() == [1.0, 1.0]


def test_full_balance_gives_every_subject_the_weight_of_an_average_one():
    subjects = ["work"] * 8 + ["fire"] * 2 + ["music"] * 2
    found = Weighing(None, 1).weights(np.zeros(12), subjects, now=0)
    assert found[:8].sum() == pytest.approx(4)  # the mean of 8, 2 and 2
    assert found[8:].tolist() == [1.0] * 4
    assert Weighing(None, 0).weights(np.zeros(12), subjects, now=0).tolist() == [1.0] * 12


def test_an_entry_is_about_its_rarest_tag():
    assert subject_of(("food", "fire"), Counter(food=9, fire=2)) == "fire"
    assert subject_of(("b", "a"), Counter(a=1, b=1)) == "a"
    assert subject_of((), Counter()) == ""


def test_number_of_rows_is_fair_and_within_its_bounds():
    draws = np.linspace(0, 1, 1000, endpoint=False)
    assert np.mean([number_of_rows(0.6, 0, 4, draw) for draw in draws]) == pytest.approx(2.4, abs=0.01)
    assert {number_of_rows(0.01, 1, 4, draw) for draw in draws} == {1}
    assert {number_of_rows(1.0, 1, 4, draw) for draw in draws} == {4}


def test_falling_weight_never_gives_more_rows():
    found = [number_of_rows(weight, 0, 4, 0.7) for weight in np.linspace(1, 0, 50)]
    assert found == sorted(found, reverse=True)


def test_heavier_things_are_drawn_more_often():
    weights, drawn = np.array([1.0] * 50 + [4.0] * 50), np.zeros(100)
    for seed in range(200):
        drawn += strongest(weights, np.random.default_rng(seed).random(100), 20)
    assert drawn.sum() == 200 * 20
    assert drawn[50:].sum() > 2.5 * drawn[:50].sum()


def test_more_than_there_are_is_all_of_them():
    assert strongest(np.ones(3), np.array([0.0, 0.5, 0.9]), 9).all()
