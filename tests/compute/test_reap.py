"""Machines that nobody works on: found, named, ended, confirmed."""

from __future__ import annotations

import asyncio
import io
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lorry import plugins
from lorry.cli import output
from lorry.cli.main import run
from lorry.compute import reap
from lorry.compute.providers._base import Capabilities, Machine
from lorry.track import process
from lorry.track.leases import LeaseRow, Leases
from lorry.track.store import Store
from renting import HOUR, NOON, lease, open_lease, volume

Capture = pytest.CaptureFixture[str]
NOW = NOON + HOUR
QUICK = reap.Patience(total=1.0, pause=0.01, longest=0.05)


def machine(name: str = "lorry-bbbbbbbb-run", **given: Any) -> Machine:
    facts = {"id": f"m-{name[-8:]}", "state": "running", "usd_per_hour": 0.5, "created_at": NOON}
    return Machine(name=name, **(facts | given))


@pytest.fixture
def shed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A provider with nothing in it, and its key."""
    monkeypatch.setitem(plugins.KINDS, "providers", "sheds")
    plugins.names.cache_clear()
    monkeypatch.setenv("SHED_API_KEY", "let-me-into-the-shed")
    made: Any = plugins.make("providers", {"name": "shed", "file": str(tmp_path / "shed.json")})
    made.put()
    yield made
    plugins.names.cache_clear()


def of(shed: Any, **given: Any) -> dict[str, Any]:
    return {"settings": {"file": shed.file}, **given}


def kinds(shed: Any, rows: list[LeaseRow], worked_on: str = "", now: float = NOW) -> list[tuple[str, str]]:
    found = asyncio.run(reap.survey([shed], rows, lambda run_id: run_id == worked_on, now))
    return [(one.kind, one.machine.id if one.machine else one.lease.name if one.lease else "") for one in found]


def test_machine_without_lease_is_an_orphan_and_other_names_are_foreign(shed):
    shed.put(machine(), machine("my-own-pod", id="p"), machine("Lorry-x", id="q"), machine("lorrylorry", id="r"))
    assert kinds(shed, []) == [("orphan", "m-bbbb-run"), ("foreign", "p"), ("foreign", "q"), ("foreign", "r")]


def test_machine_whose_lease_was_closed_is_an_orphan(shed):
    shed.put(machine("lorry-aaaaaaaa-run"))
    assert kinds(shed, [lease(**of(shed))]) == [("orphan", "m-aaaa-run")]


def test_machine_of_a_run_that_somebody_works_on_is_left_alone(shed):
    shed.put(machine())
    rows = [open_lease(**of(shed))]
    assert kinds(shed, rows, worked_on="run-1") == [("attended", "m-bbbb-run")]
    assert kinds(shed, rows) == [("unattended", "m-bbbb-run")]


def test_run_that_the_machine_serves_now_is_the_one_that_counts(shed):
    shed.put(machine())
    row = open_lease(**of(shed, runs=[[NOON + 60, "run-2"]]))
    assert kinds(shed, [row], worked_on="run-1") == [("unattended", "m-bbbb-run")]
    assert kinds(shed, [row], worked_on="run-2") == [("attended", "m-bbbb-run")]


def test_second_machine_of_one_name_is_found_too(shed):
    shed.put(machine(), machine(id="twin"))
    assert kinds(shed, [open_lease(**of(shed))]) == [("unattended", "m-bbbb-run"), ("unattended", "twin")]


def test_lease_without_machine_is_gone_and_a_young_one_uncertain(shed):
    asked = open_lease(**of(shed, state="asked", machine_id="", rented_at=None, asked_at=NOW - 30))
    assert kinds(shed, [open_lease("lorry-1", **of(shed)), asked]) == [("gone", "lorry-1"), ("uncertain", asked.name)]
    assert kinds(shed, [asked], now=NOW + reap.SETTLES) == [("gone", asked.name)]
    let_go = replace(asked, state="ending")
    assert kinds(shed, [let_go])[-1] == ("uncertain", let_go.name), "it is to be ended, if it turns up"


def test_other_account_does_not_confirm_that_a_machine_is_gone(shed, monkeypatch):
    row = open_lease(**of(shed, account=reap.account(shed)))
    assert kinds(shed, [row]) == [("gone", row.name)]
    monkeypatch.setenv("SHED_API_KEY", "of-somebody-else-entirely")
    assert kinds(shed, [row]) == [("silent", row.name)]
    shed.put(machine())  # a new key of the same account
    assert kinds(shed, [row]) == [("unattended", "m-bbbb-run")]


def test_machine_that_ended_counts_as_gone(shed):
    shed.put(machine(state="ended"))
    assert kinds(shed, [open_lease(**of(shed))]) == [("gone", "lorry-bbbbbbbb-run")]


def test_provider_that_does_not_answer_is_silent_for_each_open_lease(shed):
    Path(shed.file).unlink()
    assert kinds(shed, []) == [("silent", "")]
    rows = [open_lease("lorry-1", **of(shed)), open_lease("lorry-2", **of(shed)), lease(**of(shed))]
    assert kinds(shed, rows) == [("silent", "lorry-1"), ("silent", "lorry-2")]


def test_lease_of_a_provider_that_is_not_there_is_silent(shed):
    assert kinds(shed, [open_lease(provider="ruin")]) == [("silent", "lorry-bbbbbbbb-run")]
    assert kinds(shed, [open_lease(provider="barn")]) == []  # costs nothing


def test_machine_is_not_judged_by_another_instance_of_its_provider(shed):
    shed.put(machine())
    other: Any = plugins.make("providers", {"name": "shed", "file": "/nowhere"})
    row = open_lease(**of(other))
    found = asyncio.run(reap.survey([shed, other], [row], lambda _: False, NOW))
    assert [one.kind for one in found] == ["attended", "silent"]


def test_providers_are_those_with_leases_volumes_or_a_key(shed, monkeypatch):
    rows, volumes = [open_lease(**of(shed))], [volume(settings={"file": "/other"})]
    found, trouble = reap.configured(rows, volumes)
    assert ([one.file for one in found], trouble) == ([shed.file, "/other", "/nowhere"], [])
    monkeypatch.delenv("SHED_API_KEY")
    assert reap.configured([], []) == ([], [])
    assert [one.file for one in reap.configured(rows)[0]] == [shed.file]


def test_settings_that_no_provider_takes_are_told(shed):
    found, trouble = reap.configured([open_lease(settings={"colour": "red"})])
    assert [one.file for one in found] == ["/nowhere"]
    assert "colour" in trouble[0].why


def test_ending_goes_on_until_it_is_confirmed(shed, lorry_home):
    leases = Leases.open()
    leases.add(open_lease(**of(shed)))
    shed.put(machine(), stubborn=3, lazy=2)
    (found,) = asyncio.run(reap.survey([shed], leases.since(), lambda _: False, NOW))
    at, why = asyncio.run(reap.end(found, leases, QUICK))
    row = leases.get("lorry-bbbbbbbb-run")
    assert (row.state, row.ended_at, row.outcome, why) == ("ended", at, "STOPPED_BY_PERSON", "")
    assert shed.read()["machines"] == []


def test_ending_that_is_never_confirmed_says_why_and_leaves_the_lease_open(shed, lorry_home):
    leases = Leases.open()
    leases.add(open_lease(**of(shed)))
    shed.put(machine(), lazy=9999)
    (found,) = asyncio.run(reap.survey([shed], leases.since(), lambda _: False, NOW))
    assert asyncio.run(reap.end(found, leases, QUICK)) == (None, "shed still lists it as running")
    assert leases.get("lorry-bbbbbbbb-run").state == "ending"


def test_orphan_whose_lease_was_closed_bills_up_to_its_end(shed, lorry_home):
    leases = Leases.open()
    leases.add(lease(**of(shed)))
    shed.put(machine("lorry-aaaaaaaa-run"))
    (found,) = asyncio.run(reap.survey([shed], leases.since(), lambda _: False, NOW))
    at, _ = asyncio.run(reap.end(found, leases, QUICK))
    assert leases.get("lorry-aaaaaaaa-run").ended_at == at


def test_machine_that_is_gone_bills_up_to_now_or_its_own_end(shed, lorry_home, monkeypatch):
    leases, late = Leases.open(), NOON + 100 * HOUR
    for name, ends_itself in (("lorry-1", "none"), ("lorry-2", "ttl")):
        leases.add(open_lease(name, **of(shed)))
        monkeypatch.setattr(type(shed), "capabilities", Capabilities(self_ending=ends_itself))
        found = asyncio.run(reap.survey([shed], [leases.get(name)], lambda _: False, late))
        assert [row.name for row in reap.settle(found, leases, late)] == [name]
    assert [row.usd(late) for row in leases.since()] == [100.0, 2 + 1 / 60]
    assert [row.ended_at for row in leases.since()] == [late, late]


def test_clean_survey_leaves_with_zero(shed, lorry_home, capsys: Capture):
    Leases.open().add(lease(**of(shed)))
    assert run(["reap"]) == 0
    assert "no machine of lorry's is left" in capsys.readouterr().err


@pytest.fixture
def left_behind(shed, lorry_home) -> Leases:
    leases = Leases.open()
    leases.add(open_lease(**of(shed)))
    leases.add(open_lease("lorry-cccccccc-gone", **of(shed)))
    models = {"id": "v1", "name": "models", "gb": 100, "place": "EU", "usd_per_month": 7.0}
    shed.put(machine(), machine("mine", id="m-mine"), machine("lorry-zzzzzzzz-old", id="m-old"), volumes=[models])
    leases.add_volume(volume("lost", **of(shed)))
    return leases


def test_machines_are_named_and_nothing_ends_unless_asked_for(left_behind: Leases, shed, capsys: Capture):
    assert run(["reap"]) == 4
    captured = capsys.readouterr()
    assert "lorry-bbbbbbbb-run  m-bbbb-run" in captured.out
    assert "no process works on `run-1`" in captured.out
    assert "$0.50  2025-12-01 12:00" in captured.out
    assert "models  v1" in captured.out
    assert "1 machine of other names: left alone" in captured.err
    assert "lorry-cccccccc-gone: shed says that no machine is there any more; its lease is closed" in captured.err
    assert "nothing was ended; `lorry reap --yes` ends them" in captured.err
    assert "shed end m-bbbb-run" in captured.err
    assert len(shed.read()["machines"]) == 3


def test_yes_ends_them_and_leaves_others_and_volumes(left_behind: Leases, shed, capsys: Capture):
    assert run(["reap", "--yes"]) == 0
    assert capsys.readouterr().out.count("has ended, confirmed at") == 2
    kept = shed.read()
    assert [one["name"] for one in kept["machines"]] == ["mine"]
    assert [one["name"] for one in kept["volumes"]] == ["models"]
    assert [one.state for one in left_behind.since()] == ["ended", "ended"]
    assert [one.deleted_at is None for one in left_behind.volumes()] == [False]
    assert run(["reap"]) == 0


def test_other_account_does_not_confirm_that_a_volume_is_deleted(shed, lorry_home, monkeypatch):
    leases = Leases.open()
    leases.add_volume(volume(**of(shed, account=reap.account(shed))))
    monkeypatch.setenv("SHED_API_KEY", "of-somebody-else-entirely")
    assert run(["reap"]) == 0
    assert leases.volumes()[0].deleted_at is None
    monkeypatch.setenv("SHED_API_KEY", "let-me-into-the-shed")
    assert run(["reap"]) == 0
    assert leases.volumes()[0].deleted_at is not None


def test_volume_that_an_account_lists_is_its_own_from_then_on(shed, lorry_home):
    leases = Leases.open()
    leases.add_volume(volume("models", **of(shed)))
    there = {"id": "v-models", "name": "models", "gb": 100, "place": "EU", "usd_per_month": 7.0}
    shed.put(volumes=[there])
    assert run(["reap"]) == 0
    assert leases.volumes()[0].account == reap.account(shed)


@pytest.mark.parametrize(("answer", "code"), [("yes", 0), ("", 4), ("no", 4)])
def test_person_is_asked_with_the_price(left_behind, shed, capsys: Capture, monkeypatch, answer, code):
    monkeypatch.setattr(output, "can_ask", lambda: True)
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{answer}\n"))
    assert run(["reap"]) == code
    assert "end these 2 machines ($1.00/h), with all that was not copied home?" in capsys.readouterr().err
    assert len(shed.read()["machines"]) == (3 if code else 1)


def test_orphans_alone_leave_runs_that_train_detached(left_behind: Leases, shed, capsys: Capture):
    assert run(["reap", "--yes", "--orphans"]) == 0
    assert [one["name"] for one in shed.read()["machines"]] == ["lorry-bbbbbbbb-run", "mine"]


def test_json_ends_nothing_without_yes(left_behind: Leases, shed, capsys: Capture):
    assert run(["reap", "--json"]) == 4
    found = json.loads(capsys.readouterr().out)
    assert [(one["kind"], one["id"], one["ended_at"]) for one in found["machines"] if one["id"]] == [
        ("unattended", "m-bbbb-run", None),
        ("gone", "m-ccc-gone", None),
        ("orphan", "m-old", None),
    ]
    assert (found["others"], found["closed"]) == (1, ["lorry-cccccccc-gone"])
    assert found["volumes"][0]["usd_per_month"] == 7.0
    assert run(["reap", "--json", "--yes"]) == 0
    found = json.loads(capsys.readouterr().out)["machines"]
    assert [bool(one["ended_at"]) for one in found if one["id"]] == [True, True]


def test_end_that_is_not_confirmed_leaves_with_four_and_the_way_by_hand(
    left_behind, shed, capsys: Capture, monkeypatch
):
    shed.put(machine("lorry-zzzzzzzz-old", id="m-old"), lazy=9999)
    monkeypatch.setattr(reap, "Patience", lambda: QUICK)
    assert run(["reap", "--yes"]) == 4
    said = capsys.readouterr().err
    assert "lorry-zzzzzzzz-old (m-old) at shed, $0.50/h" in said
    assert "shed still lists it as running" in said
    assert "shed end m-old" in said


def test_key_that_is_missing_is_said_and_counts_where_a_lease_is_open(shed, lorry_home, capsys: Capture, monkeypatch):
    monkeypatch.delenv("SHED_API_KEY")
    assert run(["reap"]) == 0
    Leases.open().add(open_lease(**of(shed)))
    assert run(["reap"]) == 4
    said = capsys.readouterr().err
    assert "SHED_API_KEY is not set" in said
    assert "lorry-bbbbbbbb-run (m-bbbb-run) at shed, $1.00/h" in said
    assert Leases.open().get("lorry-bbbbbbbb-run").is_open


def test_silent_provider_without_lease_is_said_only(shed, lorry_home, capsys: Capture):
    assert run(["reap"]) == 0  # the key is there, and the default file is not
    assert "warning: shed: shed does not answer" in capsys.readouterr().err


def test_run_of_a_live_process_is_left_alone(left_behind: Leases, shed, tmp_path: Path, capsys: Capture):
    store, own = Store.open(), os.getpid()
    store.add("run-1", name="n", folder=tmp_path, model="m", method="sft", created_at=1.0)
    store.update("run-1", status="running", pid=own, pid_started=process.started(own))
    assert run(["reap", "--yes"]) == 0
    assert "a process works on `run-1`; left alone" in capsys.readouterr().err
    assert "m-bbbb-run" in [one["id"] for one in shed.read()["machines"]]
    store.update("run-1", pid_started=1.0)  # the number is another process's by now
    assert run(["reap", "--yes"]) == 0
    assert "m-bbbb-run" not in [one["id"] for one in shed.read()["machines"]]


def test_names_from_a_provider_cannot_steer_the_terminal(shed, lorry_home, capsys: Capture):
    Leases.open().add(open_lease("lorry-1", **of(shed)))
    shed.put(machine("lorry-\x1b[2J\x07", id="m\r1"))
    assert run(["reap"]) == 4
    captured = capsys.readouterr()
    assert "\x1b" not in captured.out + captured.err
    assert "lorry-\\x1b[2J" in captured.out
