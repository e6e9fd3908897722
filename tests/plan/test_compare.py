"""Providers side by side, for a budget."""

from __future__ import annotations

from typing import Any

import pytest

from lorry.errors import InputError
from lorry.plan.buying import buying
from lorry.plan.compare import Yardstick, compare, providers, side_by_side
from lorry.plan.cost import HOUR, Duration, Terms, Work
from lorry.plan.gpus import get
from lorry.plan.offers import Job, Offer, Ranked, rank, this_computer
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
        providers("runpd", ["runpod", "vast"])
    assert error.value.hint == "did you mean `runpod`?"


def test_providers_are_named_in_any_case_and_all_of_them_as_all():
    assert providers(" RunPod, vast,", ["runpod", "vast", "aws"]) == ["runpod", "vast"]
    assert providers("all", ["runpod", "vast"]) == ["runpod", "vast"]


@pytest.mark.parametrize("wrong", ["", " , ", "runpod,runpod", "all,runpod", "\x1b[31m", "this computer"])
def test_names_that_cannot_be_compared_are_refused(wrong: str):
    with pytest.raises(InputError) as error:
        providers(wrong, ["runpod", "vast"])
    assert error.value.hint


def test_provider_without_an_offer_says_so():
    (found,) = compare(ranked(offer("runpod", 1)), ["azure"], Yardstick())
    assert (found.best, found.fits) == (None, False)
    assert "no such machine" in found.reason


def test_what_does_not_fit_tells_of_the_largest_machine():
    offers = [offer("aws", 1, gpu) for gpu in ("A10G", "L40S", "T4")]
    unfit = rank(Job(memory=lambda _: 200 * GB, work=lambda _: None), offers)
    (found,) = compare(unfit, ["aws"], Yardstick())
    assert found.best is not None
    assert found.best.offer.machine == "L40S"
    assert found.reason.startswith("needs 200.00 GB")


def test_what_only_the_recipes_cap_excludes_tells_of_the_cheapest():
    work = Work(Duration(training=Range.exact(2 * HOUR)))
    job = Job(memory=lambda _: GB, work=lambda _: work, usd=1)
    (found,) = compare(rank(job, [offer("aws", 5), offer("aws", 3), offer("aws", 4)]), ["aws"], Yardstick())
    assert found.reason == "would cost $6.00, over the budget of $1.00"


def test_only_the_named_are_compared_and_bought():
    offers = ranked(offer("runpod", 0.5), offer("vast", 0.2))
    here = ranked(this_computer(None, 20 * GB, usd_per_kwh=0.3, watts=100))[0]
    found = side_by_side(here, offers, ["runpod"], Yardstick(buy=1800))
    assert [one.provider for one in found.rows] == ["this computer", "runpod"]
    assert found.buying is not None
    assert found.buying.rented.provider == "runpod"


def test_bought_gpu_has_paid_when_what_it_saves_an_hour_reaches_its_price():
    (best,) = ranked(offer("runpod", 0.5))
    found = buying([best], 1800, usd_per_kwh=0.3)
    assert found is not None
    assert found.purchase.per_hour == pytest.approx((450 + 150) / 1000 * 0.3)
    assert found.hours == pytest.approx(1800 / (0.5 - 0.18))


def test_bought_gpu_never_pays_where_renting_costs_no_more_than_its_power():
    found = buying(ranked(offer("vast", 0.1)), 1800, usd_per_kwh=0.3)
    assert found is not None
    assert found.hours is None


def test_what_is_paid_by_the_month_or_given_is_no_rent_to_beat():
    free, monthly = offer("colab", 0.0), offer("colab", 0.1, terms=Terms(monthly_fee=10, included=10))
    assert buying(ranked(free, monthly), 1800) is None
    assert buying(ranked(offer("runpod", 0.5, "T4"), memory=20 * GB), 1800) is None


def test_provider_named_twice_stands_once():
    assert len(compare(ranked(offer("runpod", 1)), ["runpod", "runpod"], Yardstick())) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"success_rate": 0.0},
        {"success_rate": -0.1},
        {"success_rate": 1.1},
        {"success_rate": float("nan")},
        {"success_rate": 1e-320},
        {"buy": -1.0},
        {"budget": 1e300},
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
