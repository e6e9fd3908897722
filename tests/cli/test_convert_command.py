"""`lorry data convert`: what it prints, what it answers mistakes, and what it costs to call."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from conversions import diary
from lorry.cli.main import run

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "diary.jsonl").write_text("".join(f"{json.dumps(entry)}\n" for entry in diary(30)), encoding="utf-8")
    return tmp_path


def test_files_are_told_on_stdout_and_what_was_decided_on_stderr(capsys: Capture):
    assert run(["data", "convert", "diary.jsonl", "--out", "rows.jsonl", "--test", "0.3", "-o", "kinds=[day]"]) == 0
    out, err = capsys.readouterr()
    assert [line.split(": ")[0].rsplit("/", 1)[-1] for line in out.splitlines()] == ["rows.jsonl", "rows.test.jsonl"]
    assert "30 read as `diary`" in err
    assert "no row that is held back, and no prompt of one, is near a training row" in err


def test_an_update_tells_what_is_new(capsys: Capture):
    again = ["data", "convert", "diary.jsonl", "--out", "rows.jsonl", "--update", "--new", "new.jsonl"]
    assert run(again) == 0
    assert run(again) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[-1].endswith("new.jsonl: 0 rows of what is new")
    assert "since the last time: 0 new, 0 edited, 0 gone" in err


def test_json_has_everything(capsys: Capture):
    assert run(["data", "convert", "diary.jsonl", "--out", "rows.jsonl", "--test", "0.3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rows"] + found["test_rows"] > 30
    assert found["leakage"].keys() == {"rows", "prompts"}
    assert [Path(file).name for file in found["files"]] == ["rows.jsonl", "rows.test.jsonl"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["none.jsonl"], "no such file"),
        (["diary.jsonl", "--from", "diery"], "did you mean `diary`?"),
        (["diary.jsonl", "--from", "alpaca"], "the row has not the fields of `alpaca`, but `id`, `timestamp`"),
        (["diary.jsonl", "-o", "min_quality=2"], "min_quality"),
        (["diary.jsonl", "-o", "least_rows=9"], "least_rows is above most_rows"),
        (["diary.jsonl", "-o", "as_of=soon"], "no date"),
        (["diary.jsonl", "-o", "timezone=Mars"], "no time zone"),
        (["diary.jsonl", "-o", "good"], "`good` is no setting of a converter"),
        (["diary.jsonl", "-o", "name=squad"], "is no setting of a converter"),
        (["diary.jsonl", "-o", "wordings=none.yaml"], "no such file"),
        (["diary.jsonl", "--test", "2"], "--test"),
        (["diary.jsonl", "--drop-near-duplicates", "0.1"], "--drop-near-duplicates"),
        (["diary.jsonl", "--new", "new.txt"], "JSON Lines"),
    ],
)
def test_mistakes_are_errors_with_a_hint_and_code_2(arguments: list[str], says: str, capsys: Capture, here: Path):
    assert run(["data", "convert", *arguments, "--out", "rows.jsonl"]) == 2
    err = capsys.readouterr().err
    assert says in err
    assert "hint:" in err
    assert sorted(file.name for file in here.iterdir() if file.name != "lorry-home") == ["diary.jsonl"]


def test_converters_are_listed_with_their_settings(capsys: Capture):
    assert run(["data", "converters"]) == 0
    assert "min_quality=0.5" in capsys.readouterr().out
    assert run(["data", "converters", "--json"]) == 0
    found = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert {"alpaca", "diary", "sharegpt", "squad"} <= found.keys()
    assert all(setting["help"] for setting in found["diary"]["settings"])


def test_converting_imports_nothing_heavy():
    code = (
        "import sys; from lorry.cli.main import run; code = run(['data', 'convert', 'diary.jsonl', '--out', 'rows.jsonl'])\n"
        "assert code == 0; print([name for name in ('torch', 'transformers', 'datasets', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
