"""How long a machine may be kept, and what of it the agent is given."""

from __future__ import annotations

import pytest

from lorry.compute.allowance import UNLIMITED, Allowance, allowance, on_machine, refuse_too_little
from lorry.errors import RefusedError
from lorry.recipe.schema import BudgetSettings
from lorry.track.caps import Cap, Caps
from lorry.track.room import Asking, Room, room


def left(usd: float | None = None, hours: float | None = None, caps: Caps | None = None) -> Room:
    return room(caps or Caps(), [], [], 1e9, Asking("run", "runpod", budget=Cap(usd=usd, hours=hours)))


@pytest.mark.parametrize(
    ("given", "seconds", "why"),
    [
        (left(), UNLIMITED, "no limit is set"),
        (left(hours=2), 7200, "2 hours"),
        (left(usd=10), 5 * 3600, "$10.00"),
        (left(usd=10, hours=1), 3600, "1 hours"),
        (left(usd=10, caps=Caps(accounts={"runpod": Cap(usd=1)})), 1800, "runpod"),
    ],
)
def test_tightest_limit_decides(given, seconds, why):
    found = allowance(given, 2.0)
    assert found.seconds == pytest.approx(seconds)
    assert why in found.why


def test_long_plans_may_take_longer_than_a_day():
    assert allowance(left(), 1.0, highest=20 * 3600).seconds == 60 * 3600


def test_machine_that_costs_nothing_is_held_by_hours_alone():
    assert allowance(left(usd=1, hours=3), 0.0).seconds == 3 * 3600


@pytest.mark.parametrize("seconds", [1.0, 30.0, 300.0, 3600.0, 86400.0])
def test_some_of_it_is_kept_for_fetching_and_ending(seconds):
    margin = Allowance(seconds, "").margin
    assert 0 < margin < seconds
    assert margin <= 240


def test_agent_stops_before_the_machine_must_be_gone():
    allowed = Allowance(1800.0, "the budget")
    held = on_machine(BudgetSettings(usd=2), allowed, 2.0, before=600.0, gone=120.0)
    assert held.hours is not None
    worked_here = 3600 * held.hours - 600.0
    assert 120.0 + worked_here + allowed.margin == pytest.approx(allowed.seconds)
    assert held.usd == pytest.approx(2.0 * held.hours)
    assert held.price_per_hour == 2.0


def test_budget_below_the_first_hour_is_refused_with_the_sum():
    with pytest.raises(RefusedError, match="leaves 30 min") as error:
        refuse_too_little(allowance(left(usd=0.5), 1.0), 1.0)
    assert "$1.00" in error.value.hint
