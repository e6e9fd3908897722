"""What a run's machines were and cost, and that they have ended."""

from __future__ import annotations

from lorry.compute.receipt import may_bill, receipt, text
from renting import HOUR, NOON, lease, open_lease

NOW = NOON + 10 * HOUR


def told(*rows, now: float = NOW) -> list[str]:
    return text(receipt("run-1", rows, now), lambda row: f"shed end {row.machine_id}").splitlines()


def test_run_without_machine_says_so():
    assert told() == ["no machine was rented"]
    assert told(lease(run_id="other"), lease("lorry-2", rented_at=None)) == ["no machine was rented"]


def test_machines_total_and_confirmation_are_told():
    first = lease(described="shed, RTX 4090", outcome="PREEMPTED", interruptible=True, on_demand_usd_per_hour=3.0)
    second = lease("lorry-2", rented_at=NOON + 2 * HOUR, ended_at=NOON + 14 * HOUR, storage_usd_per_hour=0.5)
    assert told(first, second) == [
        "receipt of run-1",
        "  shed, RTX 4090, 2025-12-01 12:00:00 to 13:00:00 UTC, 1 h at $1.00/h: $1.00, the machine was taken back",
        "  shed, 2025-12-01 14:00:00 to 2025-12-02 02:00:00 UTC, 12 h at $1.50/h: $18.00, the run has finished",
        "total $19.00 for 13 h; interruptible machines saved $2.00",
        "all 2 machines have ended, confirmed at 2025-12-02 02:00:00 UTC",
    ]


def test_machines_that_may_bill_are_each_told_with_the_way_to_end_them():
    disks = open_lease("lorry-2", provider="gone-shop", machine_id="", storage_usd_per_hour=0.5)
    error = may_bill(
        [open_lease(provider="ssh", settings={"hosts": ["somebody@box"]}, machine_id="somebody@box"), disks]
    )
    assert error.exit_code == 4
    assert error.message.splitlines() == [
        "the machine `somebody@box` at ssh may still bill $1.00 an hour: its end is not confirmed",
        "the machine `lorry-2` at gone-shop may still bill $1.50 an hour: its end is not confirmed",
    ]
    assert error.hint.endswith("; the console of gone-shop; or `lorry reap`")


def test_machine_that_may_bill_comes_first_with_the_way_to_end_it():
    lines = told(lease(), open_lease())
    assert lines[:3] == [
        "a machine may still bill: m-bbbb-run (lorry-bbbbbbbb-run) at shed, $1.00/h, since 2025-12-01 12:00:00 UTC",
        "  end it: `lorry reap`, or by hand: shed end m-bbbb-run",
        "",
    ]
    assert not any("confirmed" in line for line in lines)


def test_machine_that_may_not_have_been_made_is_warned_of():
    row = open_lease(state="asked", rented_at=None, machine_id="")
    assert told(row)[0].startswith("a machine may still bill: one called lorry-bbbbbbbb-run at shed, $1.00/h")
    assert receipt("run-1", [row], NOW).confirmed_at is None


def test_machine_that_serves_another_run_now_is_no_longer_this_ones():
    row = open_lease(runs=[[NOON + HOUR, "run-2"]])
    found = receipt("run-1", [row], NOW)
    assert (found.usd, found.may_bill, found.items[0].ended_at) == (1.0, (), None)
    assert [one.name for one in receipt("run-2", [row], NOW).may_bill] == [row.name]


def test_way_by_hand_is_the_providers_or_its_console():
    from lorry.compute.receipt import by_hand

    assert by_hand(open_lease(provider="nobody")) == "the console of nobody"
