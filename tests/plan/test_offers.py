"""Which offers fit a run, and in which order they stand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lorry.plan.cost import HOUR, Duration, Interruptions, Terms, Work
from lorry.plan.gpus import get
from lorry.plan.offers import Job, Offer, rank, this_computer
from lorry.plan.ranges import Range

GB = 10**9


def offer(gpu: str = "RTX 4090", price: float = 0.5, provider: str = "runpod", **more: Any) -> Offer:
    spec = get(gpu)
    return Offer(provider, spec.name, spec, spec.memory, Range.exact(price), **more)


def lasting(hours: float | Callable[[Offer], float]) -> Callable[[Offer], Work]:
    def work(one: Offer) -> Work:
        seconds = (hours(one) if callable(hours) else hours) * HOUR
        return Work(Duration(training=Range(0.5 * seconds, seconds, 1.5 * seconds)), 0, 0, 0)

    return work


def job(memory: int = 10 * GB, hours: float | Callable[[Offer], float] = 1.0, **more: Any) -> Job:
    return Job(**{"memory": lambda _: memory, "work": lasting(hours), **more})


def by_speed(one: Offer) -> float:
    assert one.gpu is not None
    return 1000 / one.gpu.rate


def names(job: Job, offers: list[Offer], by: Any = "cost") -> list[str]:
    return [one.offer.machine for one in rank(job, offers, by)]


def reasons(job: Job, one: Offer) -> tuple[str, ...]:
    return rank(job, [one])[0].reasons


MARKET = [offer("T4", 0.2), offer("RTX 4090", 0.4), offer("H100 SXM", 3.0), offer("A100 80GB SXM", 2.0)]


def test_offers_by_likely_cost_and_by_time():
    assert names(job(hours=by_speed), MARKET) == ["RTX 4090", "H100 SXM", "T4", "A100 80GB SXM"]
    assert names(job(hours=by_speed), MARKET, "time") == ["H100 SXM", "A100 80GB SXM", "RTX 4090", "T4"]


def test_both_puts_what_nothing_beats_first():
    assert names(job(hours=by_speed), MARKET, "both") == ["H100 SXM", "RTX 4090", "A100 80GB SXM", "T4"]


def test_free_offer_does_not_win_both_however_slow_it_is():
    slow = offer("T4", 0.0)
    assert names(job(hours=by_speed), [slow, offer("H100 SXM", 0.03)], "both")[0] == "H100 SXM"
    assert names(job(hours=by_speed), [slow, offer("H100 SXM", 3.0)], "cost")[0] == "T4"


def test_what_does_not_fit_stands_last_with_the_reason():
    ranked = rank(job(memory=30 * GB), [offer("RTX 4090", 0.1), offer("RTX 5090", 0.7)])
    assert [one.offer.machine for one in ranked] == ["RTX 5090", "RTX 4090"]
    assert ranked[1].reasons == ("needs 30.00 GB of memory, 4.75 GB more than it has",)
    assert ranked[1].cost is not None


def test_card_without_bf16_does_not_fit_a_run_in_bf16():
    assert reasons(job(bf16=True), offer("T4")) == ("has no bf16, in which the run computes",)
    assert reasons(job(bf16=False), offer("T4")) == ()


def test_capability_too_low_is_a_reason():
    assert reasons(job(capability=8.0), offer("T4")) == ("has compute capability 7.5, and the run needs 8.0",)


def test_card_that_the_installed_torch_does_not_cover_is_a_reason():
    assert "no code for its compute capability 10.0" in reasons(job(compiled=frozenset({8.0, 9.0})), offer("B200"))[0]


@pytest.mark.parametrize(
    ("usd", "fits", "warned"), [(1.0, True, False), (0.6, True, True), (0.4, False, False), (0, False, False)]
)
def test_budget_refuses_the_likely_cost_and_warns_of_the_high_one(usd: float, fits: bool, warned: bool):
    (found,) = rank(job(usd=usd), [offer(price=0.5)])
    assert (found.fits, bool(found.warnings)) == (fits, warned)


def test_hours_are_a_budget_too():
    limited = Job(memory=lambda _: 0, work=lasting(3), hours=2)
    assert reasons(limited, offer()) == ("would take 3 h, over the budget of 2 h",)


def test_session_limit_is_a_reason_only_where_the_run_cannot_go_on():
    limited = offer(terms=Terms(session_hours=2))
    assert "a session lasts 2 h" in reasons(job(hours=5, resumable=False), limited)[0]
    (found,) = rank(job(hours=5), [limited])
    assert found.warnings == ("takes 3 sessions",)


def test_unknown_speed_and_endless_run_are_reasons():
    assert reasons(job(work=lambda _: None), offer()) == ("nothing is known of its speed",)
    hopeless = Terms(interruptions=Interruptions(Range.exact(5), Range.exact(0)))
    slow_start = Work(Duration(loading=Range.exact(HOUR), training=Range.exact(HOUR)))
    assert "interrupted" in reasons(job(work=lambda _: slow_start), offer(terms=hopeless))[0]


def test_all_reasons_are_told_at_once():
    assert len(reasons(job(memory=90 * GB, bf16=True, capability=8.0, usd=0.1), offer("T4"))) == 4


def test_no_offers_rank_to_nothing():
    assert rank(job(), []) == []


def test_name_tells_provider_tier_and_number_of_cards():
    assert offer(tier="community").name == "runpod community, RTX 4090"
    assert offer("H100 SXM", gpus=8, provider="aws").name == "aws, 8 x H100 SXM"


def test_this_computer_costs_its_electricity():
    mine = this_computer(get("RTX 4090"), 24 * GB, usd_per_kwh=0.30)
    assert mine.usd_per_hour.likely == pytest.approx(0.18)
    assert not mine.interruptible
    (found,) = rank(job(hours=10), [mine])
    assert found.cost is not None
    assert found.cost.total.likely == pytest.approx(1.8)


def test_this_computer_without_a_gpu_fits_by_its_own_memory():
    mine = this_computer(None, 16 * GB, usd_per_kwh=0.3, watts=60)
    assert reasons(job(bf16=True, capability=8.0), mine) == ()
    assert reasons(job(memory=20 * GB), mine) == ("needs 20.00 GB of memory, 4.00 GB more than it has",)
