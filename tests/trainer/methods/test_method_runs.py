"""Whole runs of each method on a tiny model: they train, tell what the method tells, and go on to the same bits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import lorry
import tiny_runs
from lorry.report.write import write
from lorry.track.run import Run
from rehearsals import LIMIT, use_own_tmp

PAIRS = [
    {"prompt": f"{word} {at}", "chosen": word, "rejected": f"{word} {word} {other}"}
    for at, (word, other) in enumerate(zip(tiny_runs.WORDS * 3, tiny_runs.WORDS[1:] * 4, strict=False))
]
LABELS = [
    {"prompt": row["prompt"], "completion": row["chosen" if at % 2 else "rejected"], "label": bool(at % 2)}
    for at, row in enumerate(PAIRS)
]
ROWS: dict[str, list[dict[str, Any]]] = {"dpo": PAIRS, "orpo": PAIRS, "simpo": PAIRS, "kto": LABELS, "reward": PAIRS}
TOLD = {
    "dpo": "reward_accuracy",
    "orpo": "nll",
    "simpo": "reward_margin",
    "kto": "kl",
    "reward": "reward_margin",
}
SCORED = {"kto": {"loss", "perplexity"}, "reward": {"reward_accuracy"}}
"""What a run is scored by; others by all that those of language models are, and by preferences."""


def recipe(folder: Path, method: str, **sections: Any) -> dict[str, Any]:
    values = tiny_runs.recipe(folder, **{"train": {"steps": 6, "eval_every": 2}, **sections})
    tiny_runs.write_rows(folder / "rows.jsonl", ROWS[method])
    return {**values, "method": method}


def losses(run: Run) -> dict[int, float]:
    return {event.step or 0: event.data["loss"] for event in tiny_runs.events_of(run, "step")}


@pytest.mark.parametrize("method", ROWS)
@pytest.mark.parametrize("packing", [False, True])
def test_method_trains_and_tells_what_it_measures(method, packing, tmp_path):
    values = recipe(tmp_path, method, data={"packing": packing})
    run = tiny_runs.train_here(values)
    assert tiny_runs.events_of(run, "finished"), run.folder.events.read_text()[-2000:]
    assert all(TOLD[method] in event.data for event in tiny_runs.events_of(run, "step"))
    assert all(TOLD[method] in event.data for event in tiny_runs.events_of(run, "evaluated"))
    scores = tiny_runs.events_of(run, "scored")[-1].data["scores"]["eval"]["scores"]
    assert set(scores) == SCORED.get(method, {"loss", "perplexity", "preference_accuracy"})


@pytest.mark.parametrize("method", ROWS)
@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_run_that_was_cut_off_ends_with_the_same_bits(method, dropout, tmp_path):
    from lorry.trainer.process import work

    values = recipe(tmp_path, method, lora={"dropout": dropout}, train={"steps": 6, "save_every": 1, "accumulation": 2})
    run = tiny_runs.train_here(values)
    calm, seen = tiny_runs.weights(run), losses(run)
    tiny_runs.cut_back(run, 3)
    work(run.folder.path)
    assert tiny_runs.weights(run) == calm
    assert losses(run) == seen


@pytest.mark.parametrize("method", ROWS)
def test_loss_of_a_step_does_not_depend_on_its_micro_batches(method, tmp_path):
    ways = [{"micro_batch": 6, "accumulation": 1}, {"micro_batch": 2, "accumulation": 3}]
    found = [
        losses(tiny_runs.train_here(recipe(tmp_path, method, train={"steps": 2, "seed": 3, **way}))) for way in ways
    ]
    assert found[0] == pytest.approx(found[1], rel=1e-4)


@pytest.mark.parametrize("method", ROWS)
def test_method_is_planned_checked_and_rehearsed(method, tmp_path, monkeypatch):
    use_own_tmp(monkeypatch, tmp_path)
    values = recipe(tmp_path, method, train={"learning_rate": 2e-4})
    result = lorry.rehearse(lorry.Recipe.model_validate(values), limit=LIMIT)
    assert {stage.ending for stage in result.stages} == {"passed"}, [one.message for one in result.findings]
    assert result.exit_code == 0


def test_answers_that_people_disliked_are_no_truth(tmp_path):
    run = tiny_runs.train_here(recipe(tmp_path, "kto", data={"eval_split": 8}, evaluate={"rows": 8}))
    samples = [json.loads(line) for line in (run.folder.evaluation / "answers.jsonl").read_text().splitlines()]
    good = {row["prompt"] for row in LABELS if row["label"]}
    assert samples
    assert {row["prompt"] for row in samples} <= good


@pytest.mark.parametrize("method", ["dpo", "kto", "reward"])
def test_all_weights_may_be_trained_too(method, tmp_path):
    run = tiny_runs.train_here(recipe(tmp_path, method, lora=None, train={"steps": 6, "learning_rate": 1e-3}))
    assert tiny_runs.events_of(run, "finished"), run.folder.events.read_text()[-1500:]
    seen = losses(run)
    assert seen[6] < seen[1]


def test_report_shows_what_the_method_tells(tmp_path):
    run = tiny_runs.train_here(recipe(tmp_path, "dpo"))
    write(run.folder)
    page = (run.folder.path / "report.html").read_text(encoding="utf-8")
    assert "loss of dpo" in page
    assert "Share of pairs with the higher reward" in page
    assert "preference_accuracy" in page


def test_loss_that_comes_near_zero_is_no_divergence(tmp_path):
    values = recipe(tmp_path, "dpo", train={"steps": 60, "learning_rate": 0.05, "micro_batch": 2})
    run = tiny_runs.train_here({**values, "method": {"name": "dpo", "beta": 20}})
    seen = losses(run)
    assert min(seen.values()) < max(seen.values()) / 20, "else this test says nothing"
    assert not tiny_runs.events_of(run, "diverged")
