from __future__ import annotations

import math

import pytest

from lorry.recipe.schema import BudgetSettings, EarlyStopSettings
from lorry.trainer.stopping import WINDOW, cost_of_the_rest, divergence, limit_reached, out_of_patience, share_used
from lorry.trainer.watched import Watched


@pytest.mark.parametrize(
    ("budget", "seconds", "said"),
    [
        ({}, 1e9, None),
        ({"hours": 1}, 3599, None),
        ({"hours": 1}, 3600, "1 hours"),
        ({"usd": 2, "price_per_hour": 4}, 1799, None),
        ({"usd": 2, "price_per_hour": 4}, 1800, "2 US dollars"),
        ({"usd": 2}, 1e9, None),
    ],
)
def test_limit_is_reached_at_its_value(budget, seconds, said):
    found = limit_reached(BudgetSettings(**budget), seconds)
    assert (said in found) if said else found is None


def out(scores: dict[int, float], *, higher: bool = False, metric: str = "loss", **settings) -> str | None:
    return out_of_patience(scores, EarlyStopSettings(**settings), Watched(metric, higher))


def every_step(*scores: float) -> dict[int, float]:
    """Scores of the steps 10, 20, 30, ..."""
    return {10 * at: score for at, score in enumerate(scores, start=1)}


def test_losses_that_fall_never_end_training():
    assert out(every_step(*(1 / step for step in range(1, 100))), patience=1) is None


def test_patience_ends_after_that_many_evaluations_without_improvement():
    scores = every_step(3, 2, 2.5, 2.4, 2.1)
    assert out(scores, patience=3) == "loss has not improved for 3 evaluations (best at step 20)"
    assert out(scores, patience=4) is None


def test_improvement_begins_the_count_anew():
    assert out(every_step(3, 4, 4, 2, 4, 4), patience=3) is None


def test_same_score_again_is_no_improvement():
    assert out(every_step(2, 2, 2), patience=2)


def test_improvement_must_be_larger_than_its_least():
    scores = every_step(2.0, 1.95, 1.9)
    assert out(scores, patience=2, min_delta=0.1)
    assert out(scores, patience=2, min_delta=0.09) is None


def test_small_improvements_add_up():
    scores = every_step(*(2 - 0.04 * at for at in range(12)))
    assert out(scores, patience=3, min_delta=0.1) is None
    assert out(scores, patience=2, min_delta=0.1)


def test_higher_scores_are_improvements_where_higher_is_better():
    rising = every_step(0.1, 0.2, 0.3, 0.4)
    assert out(rising, patience=1, higher=True, metric="exact_match") is None
    assert out(rising, patience=3, metric="exact_match").startswith("exact_match has not improved for 3")


def test_score_below_zero_counts_as_any_other():
    assert out(every_step(-5, -4, -3), patience=1, higher=True) is None
    assert out(every_step(-3, -4, -5), patience=1) is None


@pytest.mark.parametrize("higher", [True, False])
def test_score_that_is_no_number_never_improves(higher):
    assert "best at step 10" in out(every_step(1, math.nan, math.nan), patience=2, higher=higher)
    assert out(every_step(math.nan, 1, math.nan), patience=2, higher=higher) is None


def test_scores_none_of_which_is_a_number_end_training_and_say_so():
    assert out(every_step(*[math.nan] * 3), patience=3) == (
        "loss has not improved for 3 evaluations (none was a number)"
    )
    assert out(every_step(math.inf, math.inf), patience=2)
    assert out(every_step(math.inf, 1.0, 0.5), patience=1, higher=True)


def test_scores_are_taken_by_step_whatever_their_order():
    scores = {30: 2.0, 10: 1.0, 20: 3.0}
    assert "best at step 10" in out(scores, patience=2)


def test_without_scores_training_goes_on():
    assert out({}, patience=1) is None


STEADY = [2.0, 2.2, 1.8] * 10


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("recent", [[], STEADY])
def test_loss_that_is_no_number_is_divergence_from_the_first_step(loss, recent):
    assert divergence(loss, recent, 0) == "the loss is not a number"


def test_loss_above_the_multiple_of_its_median_is_divergence():
    assert divergence(20.1, STEADY, 10) == "the loss of 20.1 is more than 10 times its running median of 2"
    assert divergence(19.9, STEADY, 10) is None


def test_multiple_of_zero_leaves_every_number_alone():
    assert divergence(1e30, STEADY, 0) is None


def test_few_losses_say_nothing():
    assert divergence(100, STEADY[:9], 10) is None
    assert divergence(100, STEADY[:10], 10)


def test_median_is_that_of_the_last_steps():
    fallen = [50.0] * 200 + [1.0] * WINDOW
    assert divergence(30, fallen, 10)
    assert divergence(30, fallen[:-WINDOW], 10) is None


def test_single_peak_does_not_raise_the_median():
    assert divergence(25, [*STEADY, 1000.0, 1000.0], 10)


def test_rows_known_by_heart_may_have_a_loss_below_one():
    known = [1e-4] * 30
    assert divergence(0.9, known, 10) is None
    assert divergence(1.1, known, 10)


def test_losses_below_zero_are_compared_by_their_size():
    assert divergence(-3.5, [-5.0] * 20, 10) is None
    assert divergence(51, [-5.0] * 20, 10)


@pytest.mark.parametrize(
    ("budget", "seconds", "share"),
    [
        ({}, 1e9, 0.0),
        ({"hours": 2}, 3600, 0.5),
        ({"usd": 2, "price_per_hour": 4}, 900, 0.5),
        ({"hours": 10, "usd": 2, "price_per_hour": 4}, 900, 0.5),
        ({"hours": 0.5, "usd": 2, "price_per_hour": 4}, 900, 0.5),
        ({"hours": 0.25, "usd": 2, "price_per_hour": 4}, 900, 1.0),
        ({"usd": 2}, 1e9, 0.0),
        ({"hours": 1}, 0, 0.0),
        ({"hours": 1}, 7200, 2.0),
    ],
)
def test_share_is_that_of_the_tighter_limit(budget, seconds, share):
    assert share_used(BudgetSettings(**budget), seconds) == pytest.approx(share)


@pytest.mark.parametrize("seconds", [1, 100, 3599.999, 3600, 3601, 1e6])
@pytest.mark.parametrize(
    "budget", [{"hours": 1}, {"usd": 3, "price_per_hour": 3}, {"hours": 2, "usd": 0.1, "price_per_hour": 0.1}]
)
def test_limit_is_reached_exactly_when_all_of_it_is_used(budget, seconds):
    settings = BudgetSettings(**budget)
    assert (limit_reached(settings, seconds) is not None) == (share_used(settings, seconds) >= 1)


def test_rest_is_told_in_hours_and_in_money_where_the_price_is_known():
    assert cost_of_the_rest(BudgetSettings(), 1800, 2.0) == "the other 1,800 steps would take about 1.00 hours"
    told = cost_of_the_rest(BudgetSettings(usd=1, price_per_hour=2.5), 1800, 2.0)
    assert told.endswith("about 1.00 hours and 2.50 US dollars")
