"""A run whose adapter is not as good as the recipe asks for: complete, delivered, and told."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

import lorry
import tiny_runs
from lorry import job
from lorry.cli.commands.evaluate import Options, is_as_the_recipe_says, with_settings
from lorry.cli.main import run as command
from lorry.errors import GateMissedError
from lorry.evaluate.opening import Found
from lorry.report.write import write
from lorry.track.events import read
from lorry.track.folder import RunFolder
from lorry.track.run import Run
from lorry.track.store import Store
from subjects import recipe

MINE = "def vowels(completion, level):\n    return level\n"
EVALUATE = {
    "metrics": ["cer", "length", "metrics.py:vowels"],
    "gates": {"cer": "< 0.0001 %", "loss": "< 1000", "vowels": ">= 7 on eval"},
}


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory):
    """One run through the SDK that misses one of its gates; its folder, home, and what was raised."""
    folder = tmp_path_factory.mktemp("gated")
    (folder / "metrics.py").write_text(MINE, "utf-8")
    values = tiny_runs.recipe(folder, evaluate=EVALUATE, train={"steps": 2, "best_by": "vowels"})
    tiny_runs.write_rows(folder / "rows.jsonl", [{**row, "level": 7} for row in tiny_runs.chat_rows(24)])
    (folder / "recipe.yaml").write_text(yaml.safe_dump(values), "utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LORRY_HOME", str(folder / "home"))
        with pytest.raises(GateMissedError) as raised:
            lorry.run(folder / "recipe.yaml")
        yield Run(job.RunFolder(raised.value.folder)), raised.value


@pytest.fixture
def run(ended, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("LORRY_HOME", str(ended[0].folder.path.parents[1]))
    return ended[0]


def test_missed_gate_is_told_with_what_was_reached_and_where_the_adapter_lies(ended):
    run, error = ended
    assert error.exit_code == 3
    assert error.message.startswith("1 of 3 gates missed: cer < 0.0001 %: ")
    assert "on the evaluation rows, MISSED by" in error.message
    assert str(run.adapter) in error.hint


def test_run_is_complete_and_its_adapter_delivered(run: Run):
    assert Store.open().find(run.id).status == "finished"
    assert list(run.adapter.glob("*.safetensors"))
    kinds = [event.kind for event in read(run.folder.events)]
    assert kinds[-1] == "finished"


def test_every_account_of_the_run_tells_its_gates(run: Run):
    (scored,) = [event for event in read(run.folder.events) if event.kind == "scored"]
    assert [one["met"] for one in scored.data["gates"]] == [False, True, True]
    assert json.loads((run.folder.evaluation / "scores.json").read_text("utf-8"))["gates"] == scored.data["gates"]
    assert [one["met"] for one in run.summary["gates"]] == [False, True, True]
    for text in (run.folder.report.read_text("utf-8"), (run.adapter / "README.md").read_text("utf-8")):
        assert "## Gates: 2 of 3 met" in text
        assert "| cer | \\< 0.0001 % |" in text
    page = run.folder.report_html.read_text("utf-8")
    assert "<h2>Gates: 2 of 3 met</h2>" in page
    assert "It missed 1 of 3 gates: cer &lt; 0.0001 %." in page


def test_rows_columns_reach_functions_of_ones_own_in_training_and_at_the_end(run: Run):
    evaluated = [event.data for event in read(run.folder.events) if event.kind == "evaluated"]
    assert {one["vowels"] for one in evaluated} == {7}
    assert run.summary["best"]["by"] == "vowels"
    assert not any(path.name == "columns.jsonl" for path in job.home().glob("cache/rows/*/train/*"))
    (kept,) = job.home().glob("cache/rows/*/eval/columns.jsonl")
    assert [json.loads(line) for line in kept.read_text().splitlines()] == [{"level": 7}] * 4


def test_score_without_direction_is_shown_and_not_compared(run: Run):
    rows = {row["metric"]: row for row in run.summary["scores"]["eval"]}
    assert rows["length"]["verdict"] == "not compared"
    assert rows["cer"]["verdict"] != "not compared"


def test_reports_made_again_tell_the_same(run: Run):
    assert write(run.folder)["gates"] == run.summary["gates"]


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ([], 3, "1 of 3 gates missed"),
        (["--gate", "loss < 1000"], 0, "gate loss < 1000: "),
        (["--gate", "loss < 0", "--gate", "cer > 0"], 3, "1 of 2 gates missed: loss < 0"),
        (["--metrics", "length"], 0, "not judged, for they are not scored: the gates of cer, vowels"),
        (["--gate", "loss"], 2, "is no gate"),
        (["--gate", "bleu > 1"], 2, "nothing here gives a score `bleu`"),
        (["--gate", "> 1"], 2, "nothing here gives a score ``"),
        (["--rows", "0"], 0, "the gates of cer, vowels"),
        (["--rows", "0", "--gate", "cer < 1"], 2, "nothing here gives a score `cer`"),
        (["--data", "OTHER", "--gate", "loss < 9 on test"], 2, "no test rows"),
    ],
)
def test_evaluate_judges_the_gates(
    run: Run, words: list[str], code: int, told: str, capsys: pytest.CaptureFixture[str]
):
    here = [str(run.folder.path.parents[2] / "rows.jsonl") if word == "OTHER" else word for word in words]
    assert command(["evaluate", run.id, "--samples", "0", *here]) == code
    shown = capsys.readouterr()
    assert told in " ".join((shown.out + shown.err).split())
    assert "Traceback" not in shown.err


def test_gates_of_the_command_line_leave_the_runs_own_scores_alone(run: Run, capsys: pytest.CaptureFixture[str]):
    before = (run.folder.evaluation / "scores.json").read_bytes()
    assert command(["evaluate", run.id, "--samples", "0", "--gate", "loss < 1000"]) == 0
    assert "gate loss < 1000" in capsys.readouterr().out
    assert (run.folder.evaluation / "scores.json").read_bytes() == before


def test_gates_need_rows_where_an_adapter_has_no_run(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    alone = Path(shutil.copytree(run.adapter, tmp_path / "adapter"))
    assert command(["evaluate", str(alone), "--gate", "cer < 10 %"]) == 2
    assert "nothing is scored" in capsys.readouterr().err


def test_gates_of_what_is_not_scored_now_are_left_out_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    gates = {"mine": "> 0", "arc.acc": "> 0", "loss": ["< 9", "< 9 on test"], "cer": "< 1", "length": "> 2"}
    asked = recipe(evaluate={"metrics": ["cer", "m.py:mine", "length"], "harness": ["arc"], "gates": gates})
    found = Found(tmp_path, None, asked, tmp_path, tmp_path)
    monkeypatch.chdir(tmp_path)

    def judged(**options: Any) -> dict[str, Any]:
        return with_settings(found, replace(Options(), **options)).recipe.evaluate.gates

    kept = judged(metrics="m.py:mine,length")
    assert list(kept) == ["mine", "loss", "length"]
    assert "the gates of arc.acc, cer" in " ".join(capsys.readouterr().err.split())
    assert judged(metrics="mine", data=tmp_path / "rows.jsonl") == {"mine": ["> 0"], "loss": ["< 9"]}


def test_rewards_are_not_judged_where_nothing_asks_for_them(tmp_path: Path):
    learning = {"name": "grpo", "rewards": ["exact_match"]}
    asked = recipe(method=learning, evaluate={"metrics": ["cer"], "gates": {"reward": "> 0.5", "cer": "< 1"}})
    found = Found(tmp_path, RunFolder(tmp_path), asked, tmp_path, tmp_path)
    assert list(with_settings(found, Options()).recipe.evaluate.gates) == ["cer"]


@pytest.mark.parametrize(
    ("method", "options", "is_same"),
    [
        ("sft", Options(), True),
        ("sft", Options(samples=9), False),
        ("sft", Options(gate=["cer < 1"]), False),
        ({"name": "grpo", "rewards": ["exact_match"]}, Options(), False),
    ],
)
def test_runs_own_scores_stay_where_other_things_are_scored(
    tmp_path: Path, method: Any, options: Options, is_same: bool
):
    found = Found(tmp_path, RunFolder(tmp_path), recipe(method=method), tmp_path, tmp_path)
    assert is_as_the_recipe_says(found, options) is is_same


def test_command_line_shows_all_and_leaves_with_3(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    values: dict[str, Any] = tiny_runs.recipe(tmp_path, evaluate={"gates": {"loss": "< 0.0"}}, train={"steps": 1})
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(values), "utf-8")
    assert command(["run", str(tmp_path / "recipe.yaml"), "--yes", "--json"]) == 3
    shown = capsys.readouterr()
    assert json.loads(shown.out)["gates"][0]["met"] is False
    assert "1 of 1 gates missed: loss < 0.0" in " ".join(shown.err.split())
    assert os.environ["LORRY_HOME"]
