"""Whole runs of methods that learn from their own answers: they train, tell of it, and go on to the same bits."""

from __future__ import annotations

import pytest

import lorry
import tiny_runs
from lorry.report.sources import read
from lorry.report.summary import summarise
from lorry.report.write import write
from lorry.trainer import checkpoint
from lorry.trainer.process import work
from rehearsals import LIMIT, use_own_tmp
from tiny_rollouts import METHODS, recipe

EVERY = pytest.mark.parametrize("method", METHODS)


def told(run, name):
    return {event.step: event.data[name] for event in tiny_runs.events_of(run, "step")}


@EVERY
def test_method_trains_and_tells_what_it_measures(method, tmp_path):
    run = tiny_runs.train_here(recipe(tmp_path, method))
    assert tiny_runs.events_of(run, "finished"), run.folder.events.read_text()[-2000:]
    names = {"reward", "reward_vowels", "reward_exact_match", "kl", "clipped", "answer_tokens", "ended"}
    assert all(names <= event.data.keys() for event in tiny_runs.events_of(run, "step"))
    assert [event.step for event in tiny_runs.events_of(run, "rollout")] == [1, 3, 5]
    assert all("reward" in event.data for event in tiny_runs.events_of(run, "evaluated"))


@EVERY
@pytest.mark.parametrize("step", [2, 3])
def test_run_that_was_cut_off_ends_with_the_same_bits(method, step, tmp_path):
    """After step 2 a rollout comes, after step 3 the second half of one."""
    run = tiny_runs.train_here(recipe(tmp_path, method, train={"save_every": 1, "accumulation": 2, "micro_batch": 2}))
    calm, seen, rewards = tiny_runs.weights(run), told(run, "loss"), told(run, "reward")
    tiny_runs.cut_back(run, step)
    work(run.folder.path)
    assert tiny_runs.weights(run) == calm
    assert told(run, "loss") == seen
    assert told(run, "reward") == rewards


@EVERY
def test_checkpoint_within_a_rollout_holds_it_and_the_delivered_adapter_does_not(method, tmp_path):
    run = tiny_runs.train_here(recipe(tmp_path, method, train={"save_every": 1}))
    held = {step: (checkpoint.path_of(run.folder.checkpoints, step) / checkpoint.ROLLOUT).exists() for step in (3, 4)}
    assert held == {3: True, 4: False}
    assert not {checkpoint.ROLLOUT, checkpoint.VALUE_HEAD} & {path.name for path in run.folder.adapter.iterdir()}


@EVERY
def test_step_does_not_depend_on_its_micro_batches(method, tmp_path):
    ways = [{"micro_batch": 8, "accumulation": 1}, {"micro_batch": 2, "accumulation": 4}]
    found = [told(tiny_runs.train_here(recipe(tmp_path, method, train={"steps": 2, **way})), "loss") for way in ways]
    assert found[0] == pytest.approx(found[1], rel=1e-3, abs=1e-6)


@EVERY
def test_method_is_planned_checked_and_rehearsed(method, tmp_path, monkeypatch):
    use_own_tmp(monkeypatch, tmp_path)
    values = recipe(tmp_path, method, train={"learning_rate": 2e-4})
    result = lorry.rehearse(lorry.Recipe.model_validate(values), limit=LIMIT)
    assert {stage.ending for stage in result.stages} == {"passed"}, [one.message for one in result.findings]
    assert result.exit_code == 0


def test_value_head_is_trained_and_goes_on_from_where_it_was(tmp_path):
    from safetensors.torch import load_file

    run = tiny_runs.train_here(recipe(tmp_path, "ppo", train={"save_every": 1}))
    heads = [
        load_file(checkpoint.path_of(run.folder.checkpoints, step) / checkpoint.VALUE_HEAD)["weight"]
        for step in (1, 2, 6)
    ]
    assert all(head.any() for head in heads)
    assert not heads[0].equal(heads[1])


def test_model_learns_what_is_rewarded(tmp_path):
    """All weights, for the output layer of a random model is too small for an adapter to make any token likely."""
    train = {"steps": 30, "micro_batch": 32, "learning_rate": 0.03, "eval_every": 30, "schedule": "constant"}
    settings = {"rewards": ["rewards.py:vowels"], "group_size": 8, "epochs": 1, "beta": 0.0, "max_new_tokens": 6}
    run = tiny_runs.train_here(
        recipe(tmp_path, "grpo", train=train, method=settings, lora=None, evaluate={"batch_size": 32})
    )
    rewards = told(run, "reward")
    assert rewards[1] < 0.2
    assert rewards[30] > 0.6, rewards


@EVERY
def test_smoke_run_passes_and_its_report_shows_answers(method, tmp_path):
    run = tiny_runs.train_here(recipe(tmp_path, method, train={"steps": 4}), smoke=True)
    verdict = summarise(read(run.folder))["verdict"]
    assert verdict["passed"], verdict
    write(run.folder)
    assert "Answers of the last rollout" in run.folder.report.read_text(encoding="utf-8")


def test_final_rewards_are_of_answers_as_long_as_those_in_training(tmp_path):
    values = recipe(tmp_path, "grpo", evaluate={"max_new_tokens": 2, "rows": 4}, train={"deliver": "last"})
    run = tiny_runs.train_here(values)
    scored = tiny_runs.events_of(run, "scored")[-1].data["scores"]["eval"]["scores"]["reward"]["adapter"]["value"]
    evaluated = tiny_runs.events_of(run, "evaluated")[-1].data["reward"]
    assert scored == pytest.approx(evaluated)


def test_rehearsal_leaves_out_what_only_other_models_would_give(tmp_path):
    from lorry.recipe.rehearsal import rehearsal

    rewards = [{"name": "adapter", "adapter": "there"}, "exact_match"]
    train = {"best_by": "reward_exact_match", "early_stop": {"metric": "reward_exact_match"}}
    values = recipe(tmp_path, "grpo", train=train, method={"rewards": rewards, "group_size": 2})
    made = rehearsal(lorry.Recipe.model_validate(values), micro_batch=1, accumulation=1)
    assert (made.recipe.train.best_by, made.recipe.train.early_stop) == (None, None)
    assert made.recipe.train.micro_batch == 2
