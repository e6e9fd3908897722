"""From hours to dollars: billing, storage, interruptions, sessions, fees and caps."""

from __future__ import annotations

from typing import Any

import pytest

from lorry.plan.cost import HOUR, Cost, Duration, Interruptions, NeverDoneError, Terms, Work, against, cost
from lorry.plan.owning import Purchase, electricity
from lorry.plan.ranges import ZERO, Range


def hours(value: float) -> Range:
    return Range.exact(value * HOUR)


def work(training: float = 2.0, start: float = 0.0, **more: Any) -> Work:
    return Work(Duration(loading=hours(start), training=hours(training)), **{"disk_gb": 0.0, "egress_gb": 0.0, **more})


def spot(per_hour: float, wait: float = 0.0) -> Terms:
    return Terms(interruptions=Interruptions(Range.exact(per_hour), hours(wait)))


USD = Range.exact(1.0)


def test_total_is_all_phases_and_start_those_before_training():
    one = Range(1, 2, 3)
    duration = Duration(one, one, one, one, one, one)
    assert duration.total == Range(6, 12, 18)
    assert duration.start == Range(3, 6, 9)


def test_hours_at_a_price_cost_their_product():
    found = cost(work(2), Range(0.5, 1.0, 2.0), Terms())
    assert found.machine == Range(1, 2, 4)
    assert found.total == found.machine
    assert found.elapsed == hours(2)


@pytest.mark.parametrize(("billed_by", "minimum", "paid"), [(1, 0, 0.5), (3600, 0, 1), (60, 7200, 2), (0, 0, 0.5)])
def test_what_has_begun_and_the_minimum_are_paid(billed_by: float, minimum: float, paid: float):
    found = cost(work(0.5), USD, Terms(billed_by=billed_by, minimum=minimum))
    assert found.machine.likely == pytest.approx(paid)


def test_hour_that_is_just_full_is_not_rounded_to_two():
    seconds = [HOUR / 10] * 10
    duration = Duration(training=sum((Range.exact(one) for one in seconds), ZERO))
    assert cost(Work(duration), USD, Terms(billed_by=3600)).machine.likely == pytest.approx(1)


def test_storage_is_paid_by_the_month_and_egress_by_the_gigabyte():
    found = cost(work(73, disk_gb=100, egress_gb=2), ZERO, Terms(storage=0.10, egress=0.09))
    assert found.storage.likely == pytest.approx(1.0)
    assert found.egress.likely == pytest.approx(0.18)
    assert found.total.likely == pytest.approx(1.18)


def test_interruption_costs_half_the_save_interval_and_a_start():
    found = cost(work(9, start=0.5, save_every=HOUR), USD, spot(0.05))
    assert found.machine.likely == pytest.approx(9.5 / (1 - 0.05 * 1.0))
    assert found.repeated.likely == pytest.approx(0.5)


def test_waiting_takes_time_and_no_money():
    found = cost(work(10, save_every=0), USD, spot(0.2, wait=1.5))
    assert found.machine.likely == pytest.approx(10)
    assert found.elapsed.likely == pytest.approx(13 * HOUR)


def test_more_interruptions_never_cost_less():
    paid = [cost(work(8, start=0.2), USD, spot(rate)).total.likely for rate in (0, 0.1, 0.5, 1, 2)]
    assert paid == sorted(paid)


def test_run_that_never_catches_up_is_refused():
    with pytest.raises(NeverDoneError, match="interrupted"):
        cost(work(10, start=1), USD, spot(1.0))


@pytest.mark.parametrize(("training", "sessions"), [(12, 1), (12.1, 2), (23, 2), (23.1, 3)])
def test_long_run_takes_several_sessions_each_of_which_starts_anew(training: float, sessions: int):
    found = cost(work(training - 1, start=1, save_every=0), USD, Terms(session_hours=12))
    assert found.sessions == sessions
    assert found.machine.likely == pytest.approx(training + sessions - 1)


def test_session_shorter_than_a_start_is_refused():
    with pytest.raises(NeverDoneError, match="session"):
        cost(work(10, start=2), USD, Terms(session_hours=1))


def test_monthly_fee_is_paid_whole_by_one_run_and_shared_by_many():
    found = cost(work(2), Range.exact(0.5), Terms(monthly_fee=10, included=10))
    assert found.total.likely == 10
    assert found.usage.likely == 1
    assert found.runs_within_fee == 10


def test_what_goes_beyond_the_fee_is_paid_too():
    found = cost(work(30), Range.exact(0.5), Terms(monthly_fee=10, included=10))
    assert found.total.likely == 15
    assert found.runs_within_fee == 0


@pytest.mark.parametrize(("budget", "runs"), [(0, 0), (-5, 0), (9.99, 0), (10, 10), (12, 12), (100, 100)])
def test_runs_for_a_budget_with_a_fee(budget: float, runs: int):
    assert cost(work(2), Range.exact(0.5), Terms(monthly_fee=10, included=10)).runs_for(budget) == runs


def test_runs_for_a_budget_without_a_fee():
    found = cost(work(3), Range.exact(0.1), Terms())
    assert found.runs_within_fee is None
    assert (found.runs_for(0), found.runs_for(0.3), found.runs_for(1)) == (0, 1, 3)


def test_run_that_costs_nothing_has_no_number_of_runs():
    assert cost(work(), ZERO, Terms()).runs_for(5) is None


@pytest.mark.parametrize(("cap", "verdict"), [(3, "within"), (2.5, "may pass"), (2, "may pass"), (1.9, "passes")])
def test_cap_is_passed_by_the_likely_cost_and_maybe_by_the_high_one(cap: float, verdict: str):
    assert against(Range(1, 2, 3), cap) == verdict


@pytest.mark.parametrize("wrong", [{"save_every": -1}, {"disk_gb": -1}, {"egress_gb": -1}, {"training": -2}])
def test_negative_work_is_refused(wrong: dict[str, float]):
    with pytest.raises(ValueError, match="never negative"):
        work(**wrong)


def test_negative_price_is_refused():
    with pytest.raises(ValueError, match="not negative"):
        cost(work(), Range.exact(-1), Terms())


def test_parts_add_up():
    found: Cost = cost(work(5, start=0.1, disk_gb=80), Range(0.2, 0.3, 0.5), Terms(storage=0.1, egress=0.1))
    assert found.total.likely == pytest.approx(found.machine.likely + found.storage.likely + found.egress.likely)


def test_own_computer_costs_its_electricity():
    assert electricity(600, 0.30) == pytest.approx(0.18)
    with pytest.raises(ValueError, match="never negative"):
        electricity(600, -0.3)


def test_buying_breaks_even_when_rent_saved_equals_the_price():
    assert Purchase(1600, per_hour=0.14).break_even_hours(0.34) == pytest.approx(8000)
    assert Purchase(1600, per_hour=0.14, resale=600).break_even_hours(0.34) == pytest.approx(5000)
    assert Purchase(1600, per_hour=0.34).break_even_hours(0.34) is None
    assert Purchase(100, resale=500).break_even_hours(1) == 0
