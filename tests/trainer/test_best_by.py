"""What makes a step the best, in whole tiny runs: it is kept, marked and delivered, and told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tiny_rollouts
import tiny_runs
from lorry.evaluate.metrics._base import Answer
from lorry.evaluate.metrics.exact_match import ExactMatch
from lorry.report.write import write
from lorry.track.run import Run
from lorry.trainer.checkpoint import steps
from lorry.trainer.process import work
from tiny_runs import cut_back, events_of, recipe, train_here, weights

EVERY_STEP = {"steps": 4, "eval_every": 1, "keep": 1, "keep_best": 0}
ANSWERED = {"rows": 4, "max_new_tokens": 2, "metrics": ["exact_match"]}


def pairs(folder: Path, **train: Any) -> dict[str, Any]:
    """A recipe that learns preferences so fast that its evaluations go up and down."""
    values = recipe(folder, train={**EVERY_STEP, "learning_rate": 0.1, "schedule": "constant", **train})
    rows = [
        {"prompt": f"{word} {at}", "chosen": word, "rejected": f"{word} {word}"}
        for at, word in enumerate(tiny_runs.WORDS * 3)
    ]
    tiny_runs.write_rows(folder / "rows.jsonl", rows)
    return {**values, "method": "dpo"}


def given(run: Run, name: str) -> dict[int, float]:
    return {event.step or 0: event.data[name] for event in events_of(run, "evaluated")}


def score(monkeypatch: pytest.MonkeyPatch, *scores: float | None) -> list[list[str]]:
    """Lets `exact_match` give these means, evaluation after evaluation; the rows that it is asked about each time."""
    asked: list[list[str]] = []

    def score_all(_self: ExactMatch, answers: list[Answer], _beat: Callable[[], None]) -> list[float | None]:
        asked.append([answer.origin for answer in answers])
        return [scores[min(len(asked), len(scores)) - 1]] * len(answers)

    monkeypatch.setattr(ExactMatch, "score_all", score_all)
    return asked


@pytest.mark.parametrize(("name", "best_of"), [("reward_margin", max), ("reward_rejected", min), ("loss", min)])
def test_best_step_by_what_the_method_tells_is_kept_marked_and_delivered(name, best_of: Callable[..., int], tmp_path):
    run = train_here(pairs(tmp_path, best_by=name))
    scores = given(run, name)
    best = best_of(scores, key=lambda step: scores[step])
    assert events_of(run, "delivered")[0].step == best
    assert (run.folder.checkpoints / "best").readlink().name == f"step-{best:06d}"
    assert set(steps(run.folder.checkpoints)) == {best, 4}


def test_best_step_by_a_metric_is_the_first_of_the_highest_that_are_numbers(tmp_path, monkeypatch):
    score(monkeypatch, 0.25, 0.75, 0.75, None)
    run = train_here(recipe(tmp_path, train={**EVERY_STEP, "best_by": "exact_match"}, evaluate=ANSWERED))
    assert events_of(run, "delivered")[0].step == 2
    write(run.folder)
    summary = json.loads((run.folder.path / "summary.json").read_text("utf-8"))
    assert summary["best"] == {"step": 2, "by": "exact_match", "value": 0.75}
    assert "2, with exact_match 0.7500" in (run.folder.path / "report.md").read_text("utf-8")
    assert "Exact match by step" in (run.folder.path / "report.html").read_text("utf-8")


def test_same_rows_are_answered_at_each_evaluation_and_not_more_than_asked_for(tmp_path, monkeypatch):
    asked = score(monkeypatch, 0.5)
    train_here(recipe(tmp_path, train=EVERY_STEP, evaluate={**ANSWERED, "rows": 0, "rows_in_training": 3}))
    assert [len(rows) for rows in asked[:4]] == [3, 3, 3, 3]
    assert len({tuple(rows) for rows in asked[:4]}) == 1


def test_metric_that_nobody_watches_is_scored_too_and_changes_nothing(tmp_path):
    plain = train_here(recipe(tmp_path, train=EVERY_STEP))
    scored = train_here(recipe(tmp_path, train=EVERY_STEP, evaluate={**ANSWERED, "rows_in_training": 2}))
    assert all("exact_match" in event.data for event in events_of(scored, "evaluated"))
    assert weights(scored) == weights(plain)


def test_method_that_learns_from_the_models_answers_goes_by_their_reward(tmp_path):
    asked = {"rows": 4, "rows_in_training": 3, "metrics": ["exact_match"]}
    run = train_here(tiny_rollouts.recipe(tmp_path, "grpo", train=EVERY_STEP, evaluate=asked))
    rewards = given(run, "reward")
    assert events_of(run, "delivered")[0].step == max(rewards, key=lambda step: rewards[step])
    assert all("exact_match" in event.data for event in events_of(run, "evaluated"))


def test_early_stopping_watches_what_the_method_tells(tmp_path):
    stop = {"metric": "reward_accuracy", "patience": 2, "min_delta": 100}
    run = train_here(pairs(tmp_path, steps=9, early_stop=stop))
    (stopped,) = events_of(run, "early_stop")
    assert stopped.step == 3
    assert stopped.data["message"].startswith("reward_accuracy has not improved for 2 evaluations (best at step 1)")


def test_early_stopping_watches_what_makes_a_step_the_best_by_default(tmp_path, monkeypatch):
    score(monkeypatch, 0.1, 0.9, 0.5, 0.4)
    train = {**EVERY_STEP, "steps": 9, "best_by": "exact_match", "early_stop": {"patience": 2}}
    run = train_here(recipe(tmp_path, train=train, evaluate=ANSWERED))
    assert events_of(run, "early_stop")[0].step == 4
    assert events_of(run, "delivered")[0].step == 2


@pytest.mark.parametrize("train", [{"best_by": "exact_match"}, {"early_stop": {"metric": "reward_margin"}}])
def test_name_that_evaluations_do_not_give_is_refused_before_anything_is_trained(train, tmp_path):
    run = train_here(recipe(tmp_path, train=train))
    (failed,) = events_of(run, "failed")
    assert failed.data["exit_code"] == 2
    assert "name one of loss" in failed.data["hint"]
    assert not events_of(run, "started")


def test_metric_that_is_watched_and_cannot_work_here_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(ExactMatch, "unavailable", lambda _: "it is not there")
    run = train_here(recipe(tmp_path, train={"best_by": "exact_match"}, evaluate=ANSWERED))
    assert "it is not there" in events_of(run, "failed")[0].data["error"]
    assert not events_of(run, "started")


def test_run_of_an_older_lorry_goes_on_to_the_same_bits(tmp_path):
    run = train_here(recipe(tmp_path, train={**EVERY_STEP, "keep": 50, "early_stop": {"patience": 3}}))
    wanted = weights(run)
    cut_back(run, 2)
    facts = json.loads(run.folder.resolved.read_text("utf-8"))
    del facts["recipe"]["train"]["best_by"], facts["recipe"]["evaluate"]["rows_in_training"]
    facts["recipe"]["train"]["early_stop"]["metric"] = "loss"
    run.folder.resolved.write_text(json.dumps(facts), "utf-8")
    assert work(run.folder.path) == 0
    assert weights(run) == wanted


def test_run_that_goes_on_with_something_else_to_watch_ranks_the_steps_that_it_was_scored_for(tmp_path, monkeypatch):
    run = train_here(recipe(tmp_path, train={**EVERY_STEP, "keep": 50}, evaluate=ANSWERED))
    cut_back(run, 2)
    score(monkeypatch, 0.75, 0.25)
    facts = json.loads(run.folder.resolved.read_text("utf-8"))
    facts["recipe"]["train"]["best_by"] = "exact_match"
    run.folder.resolved.write_text(json.dumps(facts), "utf-8")
    assert work(run.folder.path) == 0
    assert events_of(run, "delivered")[-1].step == 3, "of 3 and 4; 1 and 2 were evaluated without it"
