"""Providers side by side, for a budget."""

from __future__ import annotations

from typing import Any

import pytest

from lorry.errors import InputError
from lorry.plan.compare import Yardstick, compare
from lorry.plan.cost import HOUR, Duration, Terms, Work
from lorry.plan.gpus import get
from lorry.plan.offers import Job, Offer, Ranked, rank
from lorry.plan.ranges import Range

GB = 10**9


def ranked(*offers: Offer, hours: float = 2.0, memory: int = 10 * GB) -> list[Ranked]:
    work = Work(Duration(training=Range.exact(hours * HOUR)), 0, 0, 0)
    return rank(Job(memory=lambda _: memory, work=lambda _: work), offers)


def offer(provider: str, price: float, gpu: str = "RTX 4090", **more: Any) -> Offer:
    spec = get(gpu)
    return Offer(provider, spec.name, spec, spec.memory, Range.exact(price), **more)


def test_each_provider_shows_its_best_offer_in_the_order_asked_for():
    found = compare(
        ranked(offer("vast", 0.4), offer("runpod", 0.7), offer("vast", 0.3)), ["runpod", "vast"], Yardstick()
    )
    assert [one.provider for one in found] == ["runpod", "vast"]
    assert [one.per_run.likely for one in found if one.per_run] == [1.4, 0.6]
    assert all(one.runs is None and one.gain is None for one in found)


def test_budget_buys_runs_and_success_rate_makes_adapters_dearer():
    (found,) = compare(ranked(offer("runpod", 0.5)), ["runpod"], Yardstick(budget=10, success_rate=0.5, value=50))
    assert found.runs == 10
    assert found.per_adapter == Range.exact(2)
    assert found.gain == Range.exact(48)


def test_monthly_fee_is_shared_per_run_and_whole_alone():
    colab = offer("colab", 0.5, terms=Terms(monthly_fee=10, included=10))
    (found,) = compare(ranked(colab), ["colab"], Yardstick(budget=20))
    assert found.per_run == Range.exact(1)
    assert found.alone == Range.exact(10)
    assert found.runs == 20


def test_provider_whose_offers_do_not_fit_says_why():
    (found,) = compare(ranked(offer("runpod", 0.5, "T4"), memory=20 * GB), ["runpod"], Yardstick(budget=10))
    assert not found.fits
    assert found.per_run is None
    assert found.best is not None
    assert "more than it has" in found.best.reasons[0]


def test_worth_less_than_it_costs_is_a_negative_gain():
    (found,) = compare(ranked(offer("runpod", 5)), ["runpod"], Yardstick(value=1))
    assert found.gain == Range.exact(-9)


def test_unknown_provider_is_an_error_with_the_nearest():
    with pytest.raises(InputError, match="no provider") as error:
        compare(ranked(offer("runpod", 1)), ["runpd"], Yardstick())
    assert error.value.hint == "did you mean `runpod`?"


def test_provider_named_twice_stands_once():
    assert len(compare(ranked(offer("runpod", 1)), ["runpod", "runpod"], Yardstick())) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"success_rate": 0.0},
        {"success_rate": -0.1},
        {"success_rate": 1.1},
        {"success_rate": float("nan")},
        {"budget": -1.0},
        {"budget": float("inf")},
        {"budget": float("nan")},
        {"value": -1.0},
    ],
)
def test_yardstick_that_cannot_be_is_refused(wrong: dict[str, float]):
    with pytest.raises(InputError):
        Yardstick(**wrong)


def test_budget_of_nothing_buys_no_run():
    (found,) = compare(ranked(offer("runpod", 1)), ["runpod"], Yardstick(budget=0))
    assert found.runs == 0
