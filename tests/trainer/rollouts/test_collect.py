"""Rollouts where memory is scarce: fewer answers at once for the rest of the run, told, and the same to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import tiny_runs
from hungry_models import answering_at_most
from lorry.report.sources import read
from lorry.report.summary import summarise
from lorry.track.run import Run
from lorry.trainer.policy import Policy
from lorry.trainer.process import work
from lorry.trainer.rollouts.jury import Jury
from tiny_rollouts import METHODS, recipe

EVERY = pytest.mark.parametrize("method", METHODS)
TRAIN = {"save_every": 1, "micro_batch": 8, "keep": 50}


def values(folder: Path, method: str, batch: int = 8, **train: Any) -> dict[str, Any]:
    """Six steps of eight answers, two on each rollout, so many answers at once."""
    return recipe(folder, method, train={**TRAIN, **train}, evaluate={"batch_size": batch, "rows": 8})


def told(run: Run) -> list[tuple[Any, ...]]:
    """Each time that memory ran out: after which step, and in what."""
    return [(event.step, event.data["where"]) for event in tiny_runs.events_of(run, "oom")]


def answered_at_once(run: Run) -> list[int]:
    return [event.data["generation_batch"] for event in tiny_runs.events_of(run, "rung")]


@EVERY
def test_answers_that_do_not_fit_at_once_are_made_in_smaller_batches_for_the_rest_of_the_run(method, tmp_path):
    with answering_at_most(2) as tried:
        run = tiny_runs.train_here(values(tmp_path, method))
    assert tiny_runs.events_of(run, "finished"), run.folder.events.read_text()[-2000:]
    assert tried[:2] == [8, 4]
    assert max(tried[2:]) == 2, "no later rollout, evaluation or score begins with more again"
    assert told(run) == [(0, "generating")] * 2
    assert answered_at_once(run) == [8, 4, 2]
    assert {event.data["micro_batch"] for event in tiny_runs.events_of(run, "rung")} == {8}


@EVERY
def test_run_whose_answers_did_not_fit_gives_what_a_run_in_such_batches_gives(method, tmp_path):
    with answering_at_most(2):
        run = tiny_runs.train_here(values(tmp_path, method))
    smaller = tiny_runs.train_here(values(tmp_path, method, batch=2))
    assert tiny_runs.weights(run) == tiny_runs.weights(smaller)


@EVERY
@pytest.mark.parametrize("step", [2, 3])
def test_run_that_was_cut_off_goes_on_with_the_answers_at_once_that_fitted(method, step, tmp_path):
    with answering_at_most(2):
        run = tiny_runs.train_here(values(tmp_path, method))
        calm = tiny_runs.weights(run)
        tiny_runs.cut_back(run, step)
    with answering_at_most(2) as tried:
        work(run.folder.path)
    assert max(tried) == 2, "nothing is tried again that did not fit"
    assert tiny_runs.weights(run) == calm


def test_answers_are_neither_made_nor_judged_again_where_memory_runs_out_as_they_are_measured(tmp_path, monkeypatch):
    judged, plain, judge = list[int](), Policy.log_probs, Jury.judge

    def scarce(self: Policy, batch: Any) -> Any:
        if not torch.is_grad_enabled() and int(batch.rows.max()) + 1 > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return plain(self, batch)

    def counted(self: Jury, completions: Any) -> Any:
        judged.append(len(completions))
        return judge(self, completions)

    monkeypatch.setattr(Policy, "log_probs", scarce)
    monkeypatch.setattr(Jury, "judge", counted)
    with answering_at_most(8) as tried:
        run = tiny_runs.train_here(values(tmp_path, "grpo", steps=2, eval_every=2))
    assert told(run) == [(0, "training")] * 2, "a step goes down the same ladder"
    assert tiny_runs.events_of(run, "rung")[-1].data["micro_batch"] == 2
    assert len(tiny_runs.events_of(run, "rollout")) == 1
    rollout, *scoring = judged
    assert (rollout, tried[0]) == (8, 8)
    assert sum(tried) == 8 + sum(scoring), "one rollout, and what evaluations and scores answer"


def test_one_answer_that_does_not_fit_alone_ends_the_run_with_what_to_set(tmp_path):
    with answering_at_most(0) as tried:
        run = tiny_runs.train_here(values(tmp_path, "grpo"))
    failed = tiny_runs.events_of(run, "failed")[-1].data
    assert "one answer alone" in failed["error"]
    assert "max_new_tokens" in failed["hint"]
    assert tried == [8, 4, 2, 1]
    assert len(told(run)) == 3


def test_report_tells_that_memory_ran_out_while_answers_were_made(tmp_path):
    with answering_at_most(2):
        run = tiny_runs.train_here(values(tmp_path, "grpo", steps=2))
    assert any("memory ran out while generating" in one for one in summarise(read(run.folder))["incidents"])
