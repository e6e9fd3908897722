"""A run against its plan: what it says after its first steps, and when that ends it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from expectations import expected
from havoc import start
from lorry.plan.expected import SoFar, from_json, of_run, outlook
from lorry.plan.ranges import Range
from lorry.recipe.schema import BudgetSettings
from lorry.track.folder import Answers
from lorry.track.run import Run
from lorry.trainer.forecast import passed
from lorry.trainer.process import work
from lorry.trainer.stopping import limit_reached
from tiny_runs import begin, events_of, recipe

PLANNED = expected({"setup": Range.exact(10), "evaluation": Range.exact(100), "scoring": Range.exact(50)})


def run_of(folder: Path, budget: dict[str, Any], answers: Answers = "none", scoring: float = 9e6) -> Run:
    """A run of 24 steps whose plan says how many seconds scoring takes."""
    values = recipe(folder, train={"steps": 24, "eval_every": 100}, budget=budget)
    run = begin(values, estimated=True, answers=answers)
    plan = json.loads(run.folder.plan.read_text(encoding="utf-8"))
    plan["expected"]["duration"]["scoring"] = {"low": scoring, "likely": scoring, "high": scoring}
    run.folder.plan.write_text(json.dumps(plan), encoding="utf-8")
    return run


def last_step(run: Run) -> int:
    return max(event.step or 0 for event in events_of(run, "step"))


def test_run_at_the_planned_pace_takes_what_was_planned():
    so_far = SoFar(elapsed=10 + 100, pace=1e-3, left_tokens=900_000, evaluations_left=4)
    assert outlook(PLANNED, so_far) == pytest.approx(PLANNED.total.likely)


def test_only_evaluations_that_are_left_are_added():
    so_far = SoFar(elapsed=4000, pace=1e-3, left_tokens=100_000, evaluations_left=1)
    assert outlook(PLANNED, so_far) == pytest.approx(4000 + 100 + 100 / 4 + 50)


def test_slow_steps_make_everything_slow_that_was_not_seen_yet():
    so_far = SoFar(elapsed=210, pace=2e-3, left_tokens=900_000, evaluations_left=4)
    assert outlook(PLANNED, so_far) == pytest.approx(210 + 1800 + 2 * (100 + 50))


def test_evaluations_that_were_seen_count_more_than_those_that_were_planned():
    so_far = SoFar(110, 1e-3, 900_000, evaluations=(30.0, 32.0), evaluations_left=3)
    assert outlook(PLANNED, so_far) == pytest.approx(110 + 900 + 93 + 50)


def test_expectation_is_kept_as_json_and_read_again():
    assert from_json(json.loads(json.dumps(PLANNED.as_json()))) == PLANNED


@pytest.mark.parametrize("field", ["tokens", "flops", "parameters", "scoring_factor"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), "many", None])
def test_expectation_of_what_cannot_be_is_none(field, value):
    assert from_json({**PLANNED.as_json(), field: value}) is None
    assert from_json({**PLANNED.as_json(), "duration": {}}) is None


@pytest.mark.parametrize("found", [None, {}, [], {"device": "T4"}, {**PLANNED.as_json(), "duration": {"training": 3}}])
def test_what_is_no_expectation_is_none(found):
    assert from_json(found) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", "{torn", '{"expected": 1}'])
def test_plan_that_cannot_be_read_expects_nothing(tmp_path, text):
    run = begin(recipe(tmp_path))
    run.folder.plan.write_text(text, encoding="utf-8")
    assert of_run(run.folder) is None


@pytest.mark.parametrize(
    ("budget", "told"),
    [
        ({}, None),
        ({"hours": 2}, None),
        ({"hours": 0.5}, "it would take 1 h, over the budget of 0.5 hours"),
        ({"usd": 3, "price_per_hour": 2}, None),
        ({"usd": 1.5, "price_per_hour": 2}, "it would cost $2.00, over the budget of $1.50"),
    ],
)
def test_limit_that_an_hour_passes_is_named(budget, told):
    assert passed(BudgetSettings(**budget), 3600) == told


def test_run_says_after_its_first_steps_what_all_of_it_will_take(tmp_path):
    run = run_of(tmp_path, {}, scoring=5000.0)
    work(run.folder.path)
    (said,) = events_of(run, "forecast")
    assert said.step == 20
    assert "planned were" in said.data["message"]
    assert last_step(run) == 24
    assert not events_of(run, "overrun")


def test_run_that_would_pass_its_budget_ends_where_nobody_can_be_asked(tmp_path):
    run = run_of(tmp_path, {"hours": 1.0})
    assert work(run.folder.path) == 3
    (ended,) = events_of(run, "stopped")
    assert ended.data["cause"] == "budget"
    assert "over the budget of 1 hours" in ended.data["reason"]
    assert (run.folder.checkpoints / "step-000020" / "manifest.json").exists()
    assert not events_of(run, "scored")


def test_nobody_is_asked_who_has_gone(tmp_path):
    run = run_of(tmp_path, {"hours": 1.0}, "ask")
    facts = json.loads(run.folder.resolved.read_text())
    run.folder.resolved.write_text(json.dumps({**facts, "watcher": [2**22 + 1, 1.0]}))
    assert work(run.folder.path) == 3


def test_budget_keeps_time_for_scoring():
    budget = BudgetSettings(hours=1.0)
    assert limit_reached(budget, 3000) is None
    assert limit_reached(budget, 3000, scoring=900) == "the limit of 1 hours is reached, with 15 min kept for scoring"
    assert limit_reached(budget, 1000, scoring=9e9) is None, "half of it is for training in any case"
    dollars = BudgetSettings(usd=2.0, price_per_hour=2.0)
    assert limit_reached(dollars, 3000) is None
    assert "2 US dollars is spent, with" in (limit_reached(dollars, 3000, scoring=900) or "")


@pytest.mark.parametrize(
    ("overrun", "answers", "action"),
    [("ask", "ask", ["ask"]), ("ask", "yes", []), ("continue", "none", []), ("stop", "yes", ["stop"])],
)
def test_who_can_be_asked_is_asked_and_who_has_agreed_is_not(tmp_path, overrun, answers, action):
    run = run_of(tmp_path, {"hours": 1.0, "overrun": overrun}, answers)
    work(run.folder.path)
    assert [event.data["action"] for event in events_of(run, "overrun")] == action
    assert last_step(run) == (20 if action == ["stop"] else 24)


def test_agent_ends_as_its_trainer_did_and_tries_no_second_time(tmp_path):
    run = run_of(tmp_path, {"hours": 1.0})
    assert start(run).wait(timeout=120) == 3
    assert [event.data["cause"] for event in events_of(run, "stopped")] == ["budget"]
    assert not events_of(run, "crashed")
