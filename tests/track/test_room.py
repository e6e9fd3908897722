"""What may still be spent: never below nothing, never past a cap, however many ask."""

from __future__ import annotations

import math
import random

import pytest

from lorry.track.caps import Cap, Caps
from lorry.track.leases import LeaseRow
from lorry.track.ledger import month_start, next_month
from lorry.track.room import Asking, room, seconds_left, tightest
from renting import HOUR, NOON, lease, open_lease, volume

DAY = 24 * HOUR


def test_without_caps_nothing_limits():
    free = room(Caps(), [open_lease()], [volume()], NOON)
    assert (free.usd, free.why, seconds_left(free, 5.0)) == (math.inf, "", math.inf)


def test_open_lease_counts_up_to_its_deadline():
    found = room(Caps(day=Cap(10)), [open_lease()], [], NOON + HOUR)
    assert (found.usd, found.why) == (8.0, "the cap of $10.00 a day leaves $8.00")


def test_own_lease_counts_up_to_now_only():
    row = open_lease()
    found = room(Caps(day=Cap(10)), [row], [], NOON + HOUR, Asking(lease=row.name))
    assert (found.usd, seconds_left(found, 1.0)) == (9.0, 9 * HOUR)


def test_lease_that_was_only_asked_for_counts_from_then_on():
    row = open_lease(state="asked", rented_at=None, asked_at=NOON)
    assert room(Caps(day=Cap(10)), [row], [], NOON + HOUR).usd == 8.0


def test_deadline_that_has_passed_unconfirmed_counts_on():
    assert room(Caps(day=Cap(10)), [open_lease()], [], NOON + 5 * HOUR).usd == 5.0


def test_stopped_machine_may_be_started_again_at_its_full_price():
    row = open_lease(prices=[[NOON + HOUR, 0.0, 0.1]])
    assert room(Caps(day=Cap(10)), [row], [], NOON + HOUR).usd == pytest.approx(8.0)


def test_day_and_month_that_are_over_count_no_more():
    rows = [lease(ended_at=NOON + 5 * HOUR, usd_per_hour=100.0)]
    assert room(Caps(day=Cap(10)), rows, [], NOON + DAY).usd == 10.0
    assert room(Caps(month=Cap(10)), rows, [], NOON + DAY).usd == 0.0
    assert room(Caps(month=Cap(10)), rows, [], NOON + 31 * DAY).usd == 10.0


def test_cap_of_a_day_allows_as_much_again_tomorrow():
    found = room(Caps(day=Cap(24)), [], [], NOON)
    assert seconds_left(found, 1.0) == math.inf
    assert seconds_left(found, 1.5) == 12 * HOUR + 16 * HOUR
    assert seconds_left(found, 4.0) == 6 * HOUR


def test_tomorrow_that_is_promised_already_ends_it_at_midnight():
    other = open_lease(usd_per_hour=1.0, deadline=NOON + 5 * DAY)
    assert seconds_left(room(Caps(day=Cap(24)), [other], [], NOON), 0.5) == 12 * HOUR


def test_account_counts_its_own_provider_and_whole_past():
    rows = [lease(rented_at=NOON - 400 * DAY, ended_at=NOON - 400 * DAY + 5 * HOUR), lease("lorry-2", provider="barn")]
    caps = Caps(accounts={"shed": Cap(100)})
    assert room(caps, rows, [], NOON, Asking(provider="shed")).usd == 95.0
    assert room(caps, rows, [], NOON, Asking(provider="barn")).usd == math.inf


def test_volume_takes_from_an_account_while_a_machine_runs():
    found = room(Caps(accounts={"shed": Cap(2)}), [], [volume()], NOON + 10 * HOUR, Asking(provider="shed"))
    assert found.usd == pytest.approx(1.0)
    assert seconds_left(found, 0.9) == pytest.approx(HOUR)


def test_budget_counts_the_runs_own_attempts():
    rows = [lease(), lease("lorry-2", run_id="other"), lease("lorry-3", runs=[[NOON + HOUR / 2, "run-1"]], run_id="x")]
    found = room(Caps(), rows, [volume()], NOON + DAY, Asking(run_id="run-1", budget=Cap(2, hours=4)))
    assert (found.usd, found.why) == (0.5, "the run's budget of $2.00 leaves $0.50")
    assert seconds_left(found, 0.1) == 2.5 * HOUR


def test_hours_that_are_used_up_leave_no_money_either():
    found = room(Caps(day=Cap(100, hours=1)), [lease()], [], NOON + 2 * HOUR)
    assert (found.usd, found.why, seconds_left(found, 1.0)) == (0.0, "the cap of 1 hours a day is used up", 0.0)


def test_cap_that_ends_it_first_is_named():
    caps = Caps(day=Cap(24, hours=6), month=Cap(300))
    found = room(caps, [], [], NOON, Asking(run_id="run-1", budget=Cap(usd=3)))
    assert tightest(found, 1.0) == "the run's budget of $3.00"
    assert tightest(found, 0.1) == "the cap of 6 hours a day"
    assert tightest(room(Caps(day=Cap(24)), [], [], NOON), 0.5) == ""


def test_cap_of_nothing_allows_nothing():
    found = room(Caps(month=Cap(0)), [], [], NOON)
    assert (found.usd, seconds_left(found, 0.01)) == (0.0, 0.0)


def test_free_machine_may_run_although_the_money_is_spent():
    assert seconds_left(room(Caps(day=Cap(0)), [], [], NOON), 0.0) == math.inf


@pytest.mark.parametrize("seed", range(40))
def test_many_who_ask_at_random_never_pass_a_cap_together(seed):
    draw = random.Random(seed)
    caps = Caps(
        Cap(draw.uniform(0, 50), draw.choice([None, draw.uniform(0, 60)])),
        Cap(draw.choice([None, draw.uniform(0, 300)])),
        {"shed": Cap(draw.uniform(0, 200)), "barn": Cap(None, draw.uniform(0, 100))},
    )
    volumes = [volume(usd_per_month=draw.uniform(0, 40), created_at=NOON - 20 * DAY, provider="shed")]
    now, rows = NOON, []
    for number in range(60):
        now += draw.uniform(0, 12 * HOUR)
        rows = [_maybe_ended(row, now, draw) for row in rows]
        asking = Asking(run_id=f"run-{number % 5}", provider=draw.choice(["shed", "barn"]), budget=Cap(60.0, 80.0))
        found, price = room(caps, rows, volumes, now, asking), draw.uniform(0.05, 8)
        assert 0 <= found.usd <= min(cap for cap in (caps.day.usd, caps.month.usd, 60.0) if cap is not None)
        seconds = min(seconds_left(found, price), draw.choice([HOUR, 90 * HOUR]))
        assert seconds >= 0
        if seconds > 1:
            rows.append(
                open_lease(
                    f"lorry-{number}",
                    run_id=asking.run_id,
                    provider=asking.provider,
                    asked_at=now,
                    rented_at=draw.choice([now, now + 30, None]),
                    deadline=now + seconds,
                    usd_per_hour=price,
                )
            )
    _assert_within(caps, rows, volumes)


def _maybe_ended(row: LeaseRow, now: float, draw: random.Random) -> LeaseRow:
    """At its deadline a machine ends, and some end before."""
    over = row.deadline is not None and row.deadline <= now
    if row.ended_at is not None or not (over or draw.random() < 0.1):
        return row
    begun = row.asked_at if row.rented_at is None else row.rented_at
    end = min(now, row.deadline or now)
    return lease(**{**_facts(row), "state": "ended", "rented_at": min(begun, end), "ended_at": end})


def _facts(row: LeaseRow) -> dict[str, object]:
    names = ("name", "run_id", "provider", "asked_at", "rented_at", "deadline", "usd_per_hour")
    return {name: getattr(row, name) for name in names}


def _assert_within(caps: Caps, rows: list[LeaseRow], volumes) -> None:
    """Every machine runs to its deadline: no day, month, account or run has taken more than it may."""
    spent = [(row, row.rented_at or row.asked_at, row.ended_at or row.deadline) for row in rows]

    def usd(start: float, end: float, provider: str = "") -> float:
        kept = (
            sum(max(0.0, end - max(start, one.created_at)) for one in volumes) * volumes[0].usd_per_month / 730 / 3600
        )
        own = (
            _within(begin, until, start, end) * row.usd_per_hour
            for row, begin, until in spent
            if provider in row.provider
        )
        return sum(own) + (kept if provider != "barn" else 0.0)

    day, slack = NOON - 12 * HOUR, 1e-6
    last = max((until for _, _, until in spent), default=NOON)
    while day < last:
        background = sum(one.usd_per_month for one in volumes) / 730 * 24
        assert usd(day, day + DAY) <= max(caps.day.usd, background) + slack
        if caps.day.hours is not None:
            assert sum(_within(begin, until, day, day + DAY) for _, begin, until in spent) <= caps.day.hours + slack
        day += DAY
    month = month_start(NOON)
    while month < last and caps.month.usd is not None:
        assert usd(month, next_month(month)) <= max(caps.month.usd, volumes[0].usd_per_month * 1.03) + slack
        month = next_month(month)
    assert (
        sum(_within(b, u, 0, math.inf) for row, b, u in spent if row.provider == "barn")
        <= caps.accounts["barn"].hours + slack
    )
    for run in {row.run_id for row, _, _ in spent}:
        assert (
            sum(_within(b, u, 0, math.inf) * row.usd_per_hour for row, b, u in spent if row.run_id == run) <= 60 + slack
        )
        assert sum(_within(b, u, 0, math.inf) for row, b, u in spent if row.run_id == run) <= 80 + slack
    if usd(NOON - 20 * DAY, NOON, "shed") < caps.accounts["shed"].usd:
        own = [(row, begin, until) for row, begin, until in spent if row.provider == "shed"]
        final = max((until for _, _, until in own), default=NOON)
        assert usd(NOON - 20 * DAY, final, "shed") <= caps.accounts["shed"].usd + slack or not own


def _within(begin: float, until: float, start: float, end: float) -> float:
    return max(0.0, min(until, end) - max(begin, start)) / 3600
