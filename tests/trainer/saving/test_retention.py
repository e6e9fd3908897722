from __future__ import annotations

import math

import numpy as np
import pytest

from lorry.trainer.saving.retention import best_first, kept

STEPS = [10, 20, 30, 40, 50, 60]
LOSSES = {10: 3.0, 20: 1.0, 30: 2.0, 40: 1.5, 50: 4.0, 60: 5.0}


def staying(saved=STEPS, losses=LOSSES, *, last: int = 1, best: int = 0) -> list[int]:
    return sorted(kept(saved, best_first(losses), last=last, best=best))


def best_step(losses) -> int | None:
    return next(iter(best_first(losses)), None)


def test_last_ones_the_first_and_the_best_ones_stay():
    assert staying(last=2, best=2) == [10, 20, 40, 50, 60]


def test_without_best_ones_only_the_last_and_the_very_best_stay():
    assert staying(last=2, best=0) == [20, 50, 60]
    assert staying(last=1, best=0) == [20, 60]


def test_without_evaluations_only_the_first_and_the_last_stay():
    assert staying(losses={}, last=2, best=3) == [10, 50, 60]
    assert staying(losses={}, last=2, best=0) == [50, 60]


def test_best_one_stays_when_it_is_the_first_or_the_last():
    assert staying(losses={10: 0.1, 60: 3.0}, last=1) == [10, 60]
    assert staying(losses={10: 3.0, 60: 0.1}, last=1) == [60]


@pytest.mark.parametrize("losses", [{}, {10: 1.0}, {10: math.nan}, {10: math.inf}, {99: 1.0}])
@pytest.mark.parametrize("best", [0, 1, 5])
def test_the_only_one_always_stays(losses, best):
    assert staying([10], losses, best=best) == [10]


def test_nothing_saved_keeps_nothing():
    assert staying([], LOSSES, last=5, best=5) == []


def test_loss_that_is_no_number_is_never_among_the_best():
    losses = {10: math.nan, 20: 2.0, 30: math.nan, 40: 1.0, 50: math.nan}
    assert best_step(losses) == 40
    assert staying(losses=losses, last=1, best=5) == [10, 20, 40, 60]
    assert best_step(dict.fromkeys(STEPS, math.nan)) is None


def test_infinite_score_is_never_among_the_best_whichever_way_is_better():
    assert best_step({10: math.inf, 20: 1e30}) == 20
    assert best_first({10: math.inf, 20: 1.0, 30: -math.inf}, higher_is_better=True) == [20]
    assert staying(losses={10: 1.0, 20: math.inf, 30: 2.0}, last=1, best=2) == [10, 30, 60]


def test_earliest_of_equally_good_ones_is_the_best():
    assert best_step({30: 1.0, 20: 1.0, 40: 1.0}) == 20
    assert staying(losses={30: 1.0, 20: 1.0, 40: 1.0}, last=1) == [20, 60]


def test_where_higher_is_better_the_highest_stay():
    assert best_first(LOSSES, higher_is_better=True) == [60, 50, 10, 30, 40, 20]
    assert best_first({30: 1.0, 20: 1.0, 40: math.nan}, higher_is_better=True) == [20, 30]
    ranked = best_first({10: 0.1, 20: 0.9, 30: 0.5, 40: math.nan, 50: 0.2}, higher_is_better=True)
    assert kept(STEPS, ranked, last=1, best=2) == {10, 20, 30, 60}


def test_steps_that_were_scored_but_not_saved_take_no_place():
    assert staying([30, 60], {10: 0.1, 20: 0.2, 30: 0.3}, last=1, best=1) == [30, 60]


def test_order_in_which_steps_are_given_does_not_matter():
    assert staying([60, 10, 40, 20, 50, 30], last=2, best=2) == staying(last=2, best=2)


def test_more_than_there_are_keeps_all():
    assert staying(last=100, best=100) == STEPS
    assert staying(last=100, best=0) == STEPS


@pytest.mark.parametrize("last", [0, -1, -100])
def test_senseless_number_of_last_ones_keeps_one(last):
    assert staying(last=last) == [20, 60]


def test_as_a_run_goes_on_the_first_the_best_and_the_last_are_never_lost():
    for seed in range(50):
        draw = np.random.default_rng(seed)
        losses = {step: float(loss) for step, loss in enumerate(draw.normal(size=60), start=1) if draw.random() < 0.7}
        last, best = int(draw.integers(1, 6)), int(draw.integers(1, 6))
        saved: set[int] = set()
        for step in range(1, 61):
            known = {at: loss for at, loss in losses.items() if at <= step}
            saved = kept([*saved, step], best_first(known), last=last, best=best)
            assert {1, step, best_step(known) or step} <= saved
            assert len(saved) <= last + best + 1
