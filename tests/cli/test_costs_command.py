"""`lorry costs` and `lorry costs cap`, as they are typed."""

from __future__ import annotations

import csv
import io
import json
import time
from dataclasses import asdict
from pathlib import Path

import pytest
import sqlalchemy as sql

from lorry import plugins
from lorry.cli.main import run
from lorry.track.caps import Cap, caps
from lorry.track.leases import Leases
from lorry.track.store import Store
from renting import HOUR, lease, open_lease, volume

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def rented(lorry_home: Path) -> Leases:
    leases = Leases.open()
    leases.add(lease(usd_per_hour=1.0 / 3, interruptible=True, on_demand_usd_per_hour=1.0))
    leases.add(open_lease(run_id="run-2", rented_at=time.time() - HOUR, asked_at=time.time() - HOUR))
    return leases


@pytest.fixture(autouse=True)
def providers(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(plugins.KINDS, "providers", "sheds")
    plugins.names.cache_clear()
    yield
    plugins.names.cache_clear()


def test_nothing_rented_is_said(capsys: Capture):
    assert run(["costs"]) == 0
    assert capsys.readouterr() == ("", "nothing was rented yet\n")


def test_table_shows_what_bills_first_and_the_total_last(rented: Leases, capsys: Capture):
    assert run(["costs"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[:5] for line in lines[1:]] == [
        ["run-2", "$1.00", "1.00", "1", "$0.00"],
        ["run-1", "$0.33", "1.00", "1", "$0.67"],
        ["total", "$1.33", "2.00", "2", "$0.67"],
    ]
    assert [line[-1] for line in lines[1:]] == ["$1.00/h", "-", "$1.00/h"]


def test_csv_has_amounts_in_full(rented: Leases, capsys: Capture):
    assert run(["costs", "--by", "month", "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert (rows[-1]["month"], float(rows[-1]["usd"])) == ("2025-12", 1 / 3)


def test_json_has_lines_and_total(rented: Leases, capsys: Capture):
    assert run(["costs", "--json", "--by", "provider"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [line["what"] for line in found["lines"]] == ["shed"]
    assert found["total"]["attempts"] == 2


def test_since_leaves_out_what_was_before(rented: Leases, capsys: Capture):
    assert run(["costs", "--since", "2026-01", "--json"]) == 0
    assert [line["what"] for line in json.loads(capsys.readouterr().out)["lines"]] == ["run-2"]


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", "", "9999999-01-01"])
def test_wrong_date_is_refused(rented: Leases, capsys: Capture, text):
    assert run(["costs", "--since", text or " "]) == 2
    assert "is no date" in capsys.readouterr().err


def test_machine_that_may_not_exist_and_unknown_price_are_told(lorry_home: Path, capsys: Capture):
    leases = Leases.open()
    leases.add(open_lease(state="asked", rented_at=None))
    leases.add_volume(volume(usd_per_month=None))
    assert run(["costs"]) == 0
    said = capsys.readouterr().err
    assert "not known whether a machine was made for `lorry-bbbbbbbb-run` at shed" in said
    assert "the price of these volumes is not known, and not counted: models" in said


def test_caps_are_set_shown_and_removed(lorry_home: Path, capsys: Capture):
    assert run(["costs", "cap"]) == 0
    assert "nothing is capped" in capsys.readouterr().err
    assert run(["costs", "cap", "--day", "$20", "--day", "8h", "--month", "200", "--account", "shed=100"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "at most $20.00 and 8 h a day",
        "at most $200.00 a month",
        "at most $100.00 with shed",
    ]
    assert run(["costs", "cap", "--day", "none", "--account", "shed=none"]) == 0
    found = caps(lorry_home)
    assert (found.day, found.month, found.accounts) == (Cap(), Cap(200.0), {})


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--day", "much"], "`much` is no amount"),
        (["--day", "-5"], "`-5` is no amount"),
        (["--day", "nan"], "`nan` is no amount"),
        (["--month", "1e99"], "`1e99` is no amount"),
        (["--account", "shed"], "`shed` names no amount"),
        (["--account", "sched=5"], "no provider is called `sched`"),
    ],
)
def test_wrong_cap_is_refused_and_nothing_changes(lorry_home: Path, capsys: Capture, words, told):
    assert run(["costs", "cap", "--day", "7"]) == 0
    assert run(["costs", "cap", *words]) == 2
    assert told in capsys.readouterr().err
    assert caps(lorry_home).day == Cap(7.0)


def test_damaged_store_of_caps_is_an_error_with_its_place(lorry_home: Path, capsys: Capture):
    lorry_home.mkdir()
    (lorry_home / "caps.yaml").write_text("day: lots")
    assert run(["costs", "cap"]) == 2
    assert "caps.yaml" in capsys.readouterr().err


def test_ten_thousand_leases_are_added_up_in_seconds(lorry_home: Path, capsys: Capture):
    rows = [asdict(lease(f"lorry-{number:08}", run_id=f"run-{number % 99}")) for number in range(10_000)]
    Leases.open()
    with Store.open().connection() as connection:
        connection.execute(sql.insert(sql.Table("leases", sql.MetaData(), autoload_with=connection)), rows)
    begin = time.monotonic()
    assert run(["costs", "--json"]) == 0
    assert time.monotonic() - begin < 5
    assert json.loads(capsys.readouterr().out)["total"]["usd"] == pytest.approx(10_000)
