"""What leases cost, by whom and when."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from lorry.track.leases import Leases
from lorry.track.ledger import costs, month_start, next_month, total
from renting import HOUR, NOON, lease, open_lease, volume

NOW = NOON + 10 * HOUR


def test_lease_of_an_hour_costs_its_price_by_the_second():
    (line,) = costs([lease(storage_usd_per_hour=0.5, ended_at=NOON + 1)], [], "run", NOW)
    assert (line.what, line.attempts, line.open) == ("run-1", 1, 0)
    assert (line.usd, line.hours) == pytest.approx((1.5 / 3600, 1 / 3600))


def test_stopped_machine_costs_its_storage_only():
    row = lease(storage_usd_per_hour=0.1, prices=[[NOON + HOUR / 2, 0.0, 0.2]])
    assert row.usd(NOW) == pytest.approx(0.55 + 0.1)
    assert total([row], [], NOW).usd == row.usd(NOW)


def test_price_that_changes_counts_from_then_on():
    row = open_lease(prices=[[NOON + HOUR, 3.0, 0.0], [NOON + 2 * HOUR, 2.0, 0.0]])
    assert row.usd(NOON + 3 * HOUR) == pytest.approx(1 + 3 + 2)
    assert total([row], [], NOON + 3 * HOUR).usd_per_hour == 2.0


def test_hours_that_bill_nothing_are_not_counted_but_for_free_machines():
    over = lease(prices=[[NOON + HOUR / 2, 0.0, 0.0]])
    assert (total([over], [], NOW).hours, over.usd(NOW)) == (0.5, 0.5)
    assert total([lease(usd_per_hour=0.0)], [], NOW).hours == 1.0


def test_machine_that_served_two_runs_is_divided_between_them():
    row = lease(runs=[[NOON + HOUR / 4, "run-2"]])
    found = {line.what: line for line in costs([row], [], "run", NOW)}
    assert (found["run-1"].usd, found["run-2"].usd) == (0.25, 0.75)
    assert (found["run-1"].attempts, found["run-2"].attempts, total([row], [], NOW).attempts) == (1, 1, 1)


def test_open_leases_stand_first_and_say_what_they_bill():
    rows = [lease(ended_at=NOW, run_id="done"), open_lease(run_id="going", storage_usd_per_hour=0.25)]
    lines = costs(rows, [volume()], "run", NOW)
    assert [(line.what, line.open) for line in lines] == [("going", 1), ("done", 0), ("volumes", 0)]
    assert [line.usd_per_hour for line in lines] == pytest.approx([1.25, 0.0, 0.1])


def test_lease_that_was_only_asked_for_is_shown_as_open_whenever_it_was():
    row = open_lease(state="asked", rented_at=None)
    (line,) = costs([row], [], "lease", NOW, since=NOW - 1)
    assert (line.what, line.usd, line.open, line.usd_per_hour) == (row.name, 0.0, 1, 1.0)


def test_lease_that_never_had_a_machine_is_left_out():
    assert costs([lease(rented_at=None, outcome="NO_CAPACITY")], [], "run", NOW) == []


def test_months_part_what_spans_them():
    begin = datetime(2026, 1, 31, 23, tzinfo=UTC).timestamp()
    row = lease(rented_at=begin, ended_at=begin + 3 * HOUR)
    assert [(line.what, line.usd) for line in costs([row], [], "month", NOW + 1e8)] == [
        ("2026-02", 2.0),
        ("2026-01", 1.0),
    ]


def test_since_cuts_what_was_billed_before():
    assert total([lease()], [volume()], NOW, since=NOON + HOUR / 2).usd == pytest.approx(0.5 + 0.95)
    assert costs([lease()], [], "run", NOW, since=NOON + HOUR) == []


def test_interruptible_machines_save_the_difference_while_they_run():
    row = lease(interruptible=True, on_demand_usd_per_hour=3.0, prices=[[NOON + HOUR / 2, 0.0, 0.1]])
    assert total([row], [], NOW).saved_usd == pytest.approx(0.5 * (3 - 1))


def test_losses_recoveries_and_persons_are_counted():
    rows = [
        lease("lorry-1", outcome="PREEMPTED", ready_at=NOON + 60),
        lease("lorry-2", outcome="HOST_LOST", ready_at=NOON + 2 * HOUR, asked_at=NOON + HOUR),
        lease("lorry-3", outcome="STOPPED_BY_PERSON", ready_at=None, asked_at=NOON + 3 * HOUR),
    ]
    line = total(rows, [], NOW)
    assert (line.attempts, line.failures, line.recoveries, line.interventions) == (3, 2, 1, 1)


def test_volume_costs_its_part_of_730_hours_until_it_is_deleted():
    assert total([], [volume()], NOW).usd == pytest.approx(1.0)
    assert total([], [volume(deleted_at=NOON + HOUR)], NOW).usd == pytest.approx(0.1)
    assert total([], [volume(usd_per_month=None)], NOW).usd == 0.0


def test_lines_of_every_kind_add_up_to_the_total():
    draw = random.Random(5)
    rows = [
        lease(
            f"lorry-{number}",
            run_id=f"run-{number % 3}",
            provider=draw.choice(["a", "b"]),
            rented_at=(begin := NOON + draw.uniform(0, 100) * 24 * HOUR),
            ended_at=begin + draw.uniform(0, 60) * 24 * HOUR,
            usd_per_hour=draw.uniform(0, 9),
            prices=[[begin + draw.uniform(0, 9) * 24 * HOUR, draw.uniform(0, 2), draw.uniform(0, 1)]],
            runs=[[begin + draw.uniform(0, 9) * 24 * HOUR, "run-9"]],
        )
        for number in range(40)
    ]
    later = NOON + 500 * 24 * HOUR
    volumes = [volume(f"v{number}", provider="a") for number in range(3)]
    whole = total(rows, volumes, later)
    assert whole.usd == pytest.approx(sum(row.usd(later) for row in rows) + 3 * 0.1 * 500 * 24)
    for by in ("run", "provider", "month", "lease"):
        lines = costs(rows, volumes, by, later)
        assert sum(line.usd for line in lines) == pytest.approx(whole.usd)
        assert sum(line.hours for line in lines) == pytest.approx(whole.hours)


def test_month_begins_and_ends_in_utc():
    at = datetime(2028, 2, 29, 23, 59, 59, tzinfo=UTC).timestamp()
    assert month_start(at) == datetime(2028, 2, 1, tzinfo=UTC).timestamp()
    assert next_month(at) == datetime(2028, 3, 1, tzinfo=UTC).timestamp()


def test_prices_and_runs_outlive_the_process_that_wrote_them(lorry_home):
    leases = Leases.open()
    leases.add(open_lease())
    leases.priced("lorry-bbbbbbbb-run", NOON + HOUR, 0.0, 0.1)
    leases.priced("lorry-bbbbbbbb-run", NOON + 2 * HOUR, 0.0, 0.1)  # the same again is no change
    leases.handed("lorry-bbbbbbbb-run", NOON + HOUR, "run-2")
    row = Leases.open().get("lorry-bbbbbbbb-run")
    assert (row.prices, row.runs) == ([[NOON + HOUR, 0.0, 0.1]], [[NOON + HOUR, "run-2"]])
    assert row == replace(open_lease(), prices=row.prices, runs=row.runs)
