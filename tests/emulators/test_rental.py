"""Bills, quotas and armed faults, with time passed in."""

from __future__ import annotations

import pytest

from lorry.emulators.faults import Fault, Faults
from lorry.emulators.limits import Limits
from lorry.emulators.machine.lines import Reader, SystemLog
from lorry.emulators.machine.steps import newest_step
from lorry.emulators.rental import Rates, Rental

HOUR = 3600.0


def rental(**changes) -> Rental:
    rates = Rates(compute=2.0, disk=0.1, stopped_disk=0.2)
    return Rental(**{"id": "a", "name": "run-1", "key": "k", "rates": rates, "created": 0.0, **changes})


def test_bill_follows_the_states_of_a_machine():
    one = rental()
    one.bill(0.0)
    one.state = "running"
    one.bill(HOUR)
    assert one.usd(2 * HOUR) == pytest.approx(2 * 2.1)
    one.state = "stopped"
    one.bill(2 * HOUR)
    assert one.usd_per_hour == 0.2
    one.state = "ended"
    one.bill(3 * HOUR)
    assert (one.usd(9 * HOUR), one.usd_per_hour) == (pytest.approx(4.2 + 0.2), 0)
    assert one.seconds(9 * HOUR) == 2 * HOUR
    assert one.usd(9 * HOUR, what="disk", begin=2 * HOUR, end=2.5 * HOUR) == pytest.approx(0.1)


def test_machine_that_is_broken_or_never_ready_goes_on_billing():
    for state in ("waiting", "booting", "broken"):
        one = rental(state=state)
        one.bill(0.0)
        assert one.usd(HOUR) == pytest.approx(2.1)


def test_quota_is_counted_by_the_minute_and_comes_back():
    now = [0.0]
    limits = Limits(lambda: 2, lambda: now[0])
    assert [limits.passed() for _ in range(3)] == ["", "", "minute"]
    now[0] = 59.0
    assert (limits.passed(), limits.wait("minute")) == ("minute", 1)
    now[0] = 60.0
    assert limits.passed() == ""
    assert limits.headers()["RateLimit"].startswith('"minute";r=1;t=60')


def test_fault_goes_to_machines_of_its_pattern_and_is_counted_down():
    faults = Faults([Fault(kind="never_ready", machine="run-*", times=2), Fault(kind="vanish")])
    assert [one.kind for one in faults.take_for_machine("id1", "other")] == ["vanish"]
    assert [one.kind for one in faults.take_for_machine("id2", "run-1")] == ["never_ready"]
    assert [one.kind for one in faults.take_for_machine("id3", "run-2")] == ["never_ready"]
    assert faults.armed == []


def test_fault_of_requests_fits_by_gpu_and_kind_of_request():
    faults = Faults([Fault(kind="no_capacity", gpu="*A100*"), Fault(kind="status", on="list")])
    assert faults.take("no_capacity", gpu="NVIDIA L4") is None
    assert faults.take("no_capacity", gpu="NVIDIA A100 80GB PCIe") is not None
    assert faults.take("status", on="create") is None
    assert faults.take("status", on="list") is not None


def test_newest_step_is_read_from_the_file_that_was_written_last(tmp_path):
    import os

    for name, step, age in (("old", 50, 100), ("new", 7, 1)):
        file = tmp_path / name / "events.jsonl"
        file.parent.mkdir()
        file.write_text(f'{{"kind": "step", "step": {step}}}\n{{"kind": "note", "step": 99}}\ntorn {{"kind"')
        os.utime(file, (1e9 - age, 1e9 - age))
    assert newest_step([tmp_path]) == 7
    assert newest_step([tmp_path / "nothing"]) == -1


def test_log_is_read_on_after_rotation_and_past_torn_lines(tmp_path):
    log = SystemLog(tmp_path)
    log.write("one", 1.0)
    reader = Reader(tmp_path)
    assert [line.text for line in reader.all()] == ["one"]
    log.write("two", 2.0)
    with (tmp_path / "system.jsonl").open("a") as file:
        file.write("torn\n")
    assert [line.mark for line in reader.new()] == ["1970-01-01T00:00:02.000000Z/000000000002"]
    (tmp_path / "system.jsonl").rename(tmp_path / "system.jsonl.1")
    SystemLog(tmp_path).write("three", 3.0)
    assert [line.text for line in reader.new()] == ["three"]
    assert [line.text for line in Reader(tmp_path).all()] == ["one", "two", "three"]
