"""`lorry speeds`, as it is typed."""

from __future__ import annotations

import json

import pytest

from lorry.cli.main import run
from lorry.plan import speeds
from lorry.plan.speeds import Reached

ONE = Reached("a", "2026-11-30", "Tesla T4", "bfloat16", 1e9, 1e3, 4e12, 1.0)


@pytest.mark.usefixtures("lorry_home")
def test_nothing_is_known_at_first(capsys):
    assert run(["speeds"]) == 0
    assert "no run has been timed yet" in capsys.readouterr().err


@pytest.mark.usefixtures("lorry_home")
def test_speeds_go_from_one_machine_to_another_by_a_file(tmp_path, monkeypatch, capsys):
    speeds.add([ONE])
    assert run(["speeds", "--save", str(tmp_path / "ours.jsonl")]) == 0
    monkeypatch.setenv("LORRY_HOME", str(tmp_path / "another"))
    assert run(["speeds", "--add", str(tmp_path / "ours.jsonl")]) == 0
    assert run(["speeds", "--add", str(tmp_path / "ours.jsonl"), "--json"]) == 0
    told = capsys.readouterr()
    assert "1 run added" in told.err
    assert "0 runs added" in told.err
    assert "Tesla T4" in told.out
    assert json.loads(told.out[told.out.index("[") :])[0]["flops"] == 4e12


def test_home_that_cannot_be_written_is_an_error_with_a_hint(tmp_path, monkeypatch, capsys):
    (tmp_path / "ours.jsonl").write_text(speeds.lines([ONE]), encoding="utf-8")
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("LORRY_HOME", str(tmp_path / "file" / "home"))
    assert run(["speeds", "--add", str(tmp_path / "ours.jsonl")]) == 2
    assert "hint: set LORRY_HOME" in capsys.readouterr().err


@pytest.mark.usefixtures("lorry_home")
@pytest.mark.parametrize("option", ["--add", "--save"])
def test_file_that_cannot_be_had_is_an_error_with_a_hint(option, tmp_path, capsys):
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert run(["speeds", option, str(tmp_path / "file" / "below")]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error:")
    assert "hint:" in told
