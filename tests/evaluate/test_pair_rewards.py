"""The evaluation of a reward model: its files, its commands, its report."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

import tiny_runs
from lorry.cli.main import run as lorry
from lorry.evaluate.pair_rewards import _loss
from lorry.report.write import write
from lorry.track.run import Run

PAIRS = [
    {"prompt": f"{word} {at}", "chosen": word, "rejected": f"{word} {word} no"}
    for at, word in enumerate(tiny_runs.WORDS * 3)
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run]:
    folder = tmp_path_factory.mktemp("rewards")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LORRY_HOME", str(folder / "home"))
        values = tiny_runs.recipe(folder, data={"eval_split": 8}, train={"steps": 12, "learning_rate": 0.02})
        tiny_runs.write_rows(folder / "rows.jsonl", PAIRS)
        return folder, tiny_runs.train_here({**values, "method": "reward"})


@pytest.fixture
def run(made: tuple[Path, Run], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("LORRY_HOME", str(made[0] / "home"))
    return made[1]


def lines(run: Run, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run.folder.evaluation / name).read_text("utf-8").splitlines()]


def test_scores_are_the_share_of_pairs_that_are_told_apart(run: Run):
    split = json.loads((run.folder.evaluation / "scores.json").read_text())["splits"]["eval"]
    assert (split["rows"], split["generated"], list(split["scores"])) == (8, 0, ["reward_accuracy"])
    found, pairs = split["scores"]["reward_accuracy"], lines(run, "answers.jsonl")
    assert found["rows"] == len(pairs) == 8
    for side in ("base", "adapter"):
        right = sum(row["rewards"][side][0] > row["rewards"][side][1] for row in pairs)
        assert found[side]["value"] == right / 8
        assert found[side]["low"] <= found[side]["value"] <= found[side]["high"]
    assert found["adapter"]["value"] == 1.0, "the pairs are told apart at a glance"


def test_pairs_stand_with_both_answers_and_the_worst_come_first(run: Run):
    hard = lines(run, "high_loss.jsonl")
    assert [row["loss"] for row in hard] == sorted((row["loss"] for row in hard), reverse=True)
    assert all(row["rejected"] == f"{row['truth']} {row['truth']} no" for row in hard)
    assert all(row["prediction"].startswith("chosen ") for row in hard)
    assert len(lines(run, "samples.jsonl")) == 5


def test_loss_of_a_pair_is_bradley_and_terrys():
    assert _loss(1.0, 0.0) == pytest.approx(math.log1p(math.exp(-1)))
    assert _loss(0.0, 1000.0) == pytest.approx(1000.0)


def test_report_and_card_tell_how_it_is_used(run: Run):
    write(run.folder)
    page = (run.folder.path / "report.html").read_text(encoding="utf-8")
    assert "loss of reward" in page
    assert "reward_accuracy" in page
    assert "rejected" in page
    card = (run.adapter / "README.md").read_text(encoding="utf-8")
    assert "AutoModelForSequenceClassification" in card
    assert "text-classification" in card
    code = card.split("```python\n")[1].split("```")[0]
    compile(code, "card", "exec")


@pytest.mark.parametrize("command", [["chat"], ["generate", "--prompt", "hi"]])
def test_it_does_not_answer(command: list[str], run: Run, capsys: pytest.CaptureFixture[str]):
    assert lorry([command[0], run.id, *command[1:]]) == 2
    told = capsys.readouterr().err
    assert "error: this is a reward model" in told
    assert "hint: " in told


def test_evaluate_scores_a_run_again(run: Run, capsys: pytest.CaptureFixture[str]):
    before = json.loads((run.folder.evaluation / "scores.json").read_text())
    assert lorry(["evaluate", run.id, "--metrics", "exact_match", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["splits"] == before["splits"]
    assert found["notes"] == ["exact_match was not scored: a reward model gives no answers"]


def test_evaluate_takes_an_adapter_of_unknown_origin(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    adapter = Path(shutil.copytree(run.adapter, tmp_path / "adapter"))
    rows = tiny_runs.write_rows(tmp_path / "pairs.jsonl", PAIRS[:6])
    assert lorry(["evaluate", str(adapter), "--data", str(rows)]) == 0
    shown = capsys.readouterr().out
    assert "reward_accuracy" in shown
    assert "rejected" in shown
