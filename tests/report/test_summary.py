"""What came out of a run, as numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import run_folders
from expectations import expected
from lorry.plan.ranges import Range
from lorry.report.facts import facts
from lorry.report.sources import read
from lorry.report.summary import SMOKE_CHECKS, smoke_verdict, summarise
from lorry.track.events import Event, EventLog
from lorry.track.folder import RunFolder, write_json
from lorry.track.state import state


def summary(folder: RunFolder) -> dict[str, Any]:
    return summarise(read(folder))


def test_finished_run_has_every_number(tmp_path: Path):
    made = summary(run_folders.finished(tmp_path / "run"))
    assert (made["status"], made["step"], made["steps"], made["attempts"]) == ("finished", 40, 40, 1)
    assert made["loss"]["first"]["step"] == 1
    assert made["loss"]["final"] == made["loss"]["best"]
    assert [made["eval_loss"][name]["step"] for name in ("first", "final", "best")] == [10, 40, 40]
    assert made["adapter"] == {
        "bytes": 7_400_000,
        "parameters": 1_843_200,
        "model_parameters": 134_515_008,
        "delivered_step": 40,
    }
    assert made["tokens"] == {"trained": 26_640, "per_second": 520.5}
    assert made["peak_memory_bytes"] == 1_500_000_040
    assert made["inference_tokens_per_second"] == {"base": 31.0, "adapter": 28.5}
    assert [row["verdict"] for row in made["scores"]["eval"]] == ["better", "better", "not distinguishable"]
    assert (made["error"], made["incidents"], made["verdict"], made["cost_usd"]) == (None, [], None, None)


def test_cost_is_the_price_of_the_time_taken(tmp_path: Path):
    recipe = {**run_folders.RECIPE, "budget": {"price_per_hour": 3.6}}
    run_folders.begun(tmp_path / "run", recipe=recipe)
    made = summary(RunFolder(tmp_path / "run"))
    assert made["cost_usd"] == pytest.approx(made["seconds"]["total"] * 0.001)


def test_failed_run_tells_why(tmp_path: Path):
    made = summary(run_folders.failed(tmp_path / "run"))
    assert made["status"] == "failed"
    assert made["error"]["hint"] == "lower train.learning_rate"
    assert (made["scores"], made["adapter"]["bytes"]) == ({}, None)


def test_empty_folder_gives_a_summary_of_nothing(tmp_path: Path):
    made = summary(RunFolder(tmp_path))
    assert (made["status"], made["loss"], made["step"], made["model"]) == ("created", None, None, None)


def test_incidents_are_collected(tmp_path: Path):
    log = run_folders.begun(tmp_path / "run", recorded=2)
    log.append("warning", message="12 rows were skipped")
    run_folders.add_step(log, 3, loss=float("nan"))
    log.append("limit", message="the budget of 1 hour is used up")
    EventLog(tmp_path / "run" / "events.jsonl", attempt=2).append("note", message="n")
    (tmp_path / "run" / "plan.json").write_text("{torn")
    found = summary(RunFolder(tmp_path / "run"))["incidents"]
    assert found[:4] == [
        "12 rows were skipped",
        "the run took 2 attempts",
        "the budget of 1 hour is used up",
        "the loss was not a number at 1 recorded steps, first at step 3",
    ]
    assert found[4].startswith("plan.json cannot be read")


def test_damaged_events_give_what_stands_before_the_damage(tmp_path: Path):
    run_folders.begun(tmp_path / "run", recorded=5)
    with (tmp_path / "run" / "events.jsonl").open("a") as file:
        file.write("}{\n")
    made = summary(RunFolder(tmp_path / "run"))
    assert made["step"] == 5
    assert "this line is not an event" in made["incidents"][0]


def test_unknown_direction_of_a_metric_is_not_guessed(tmp_path: Path):
    scores = {**run_folders.SCORES, "metrics": {}}
    made = summary(run_folders.finished(tmp_path / "run", scores=scores))
    assert [row["verdict"] for row in made["scores"]["eval"]] == ["better", "not compared", "not compared"]


def smoke(losses: list[float], **checks: bool) -> dict[str, Any]:
    steps = [Event(1, 0.0, "step", 1, number, {"loss": loss}) for number, loss in enumerate(losses, start=1)]
    done = [
        Event(1, 0.0, "smoke", data={"check": name.replace("_", " "), "passed": passed, "message": "m"})
        for name, passed in checks.items()
    ]
    return smoke_verdict(state([*steps, *done, Event(1, 0.0, "finished", data={"seconds": 1.0})]))


FALLING = [3.0, 2.9, 2.8, 2.5, 2.4, 2.3, 2.0, 1.9, 1.8, 1.7]


def test_smoke_run_passes_when_the_loss_fell_and_all_checks_passed():
    verdict = smoke(FALLING, checkpoint_loads=True, memory_as_expected=True)
    assert verdict["passed"]
    assert verdict["checks"][0]["message"] == "from 2.9000 to 1.8000 (means of 3 steps)"


@pytest.mark.parametrize(
    ("losses", "checks"),
    [
        (FALLING[::-1], {"checkpoint_loads": True, "memory_as_expected": True}),
        (FALLING, {"checkpoint_loads": False, "memory_as_expected": True}),
        (FALLING, {"checkpoint_loads": True}),
        ([2.0], {"checkpoint_loads": True, "memory_as_expected": True}),
        ([3.0, float("nan"), float("nan")], {"checkpoint_loads": True, "memory_as_expected": True}),
    ],
)
def test_smoke_run_does_not_pass_on_less(losses: list[float], checks: dict[str, bool]):
    assert not smoke(losses, **checks)["passed"]


def judged(*both: tuple[float, float]) -> dict[str, Any]:
    """The verdict of a smoke run of steps with these losses and rewards."""
    records = [{"loss": loss, "reward": reward} for loss, reward in both]
    steps = [Event(1, 0.0, "step", 1, number, record) for number, record in enumerate(records, start=1)]
    done = [Event(1, 0.0, "smoke", data={"check": name, "passed": True, "message": "m"}) for name in SMOKE_CHECKS]
    return smoke_verdict(state([*steps, *done, Event(1, 0.0, "finished", data={"seconds": 1.0})]))


def test_smoke_run_of_a_method_that_makes_its_answers_passes_when_its_figures_are_numbers():
    verdict = judged((0.0, 0.5), (0.1, 0.25), (0.2, 0.0))
    assert verdict["passed"]
    assert verdict["checks"][0]["check"] == "losses and rewards are numbers"
    assert verdict["checks"][0]["message"] == "at all of 3 steps"


@pytest.mark.parametrize("wrong", [(float("nan"), 0.5), (0.1, float("inf"))])
def test_smoke_run_of_such_a_method_does_not_pass_on_what_is_no_number(wrong: tuple[float, float]):
    verdict = judged((0.0, 0.5), wrong, (0.2, 0.0))
    assert not verdict["passed"]
    assert verdict["checks"][0]["message"] == "not at step 2"


def test_reward_has_its_course(tmp_path: Path):
    log = run_folders.begun(tmp_path / "run", recorded=0)
    for step, reward in enumerate((0.1, 0.5, 0.3), start=1):
        run_folders.add_step(log, step, loss=0.1, reward=reward)
    made = summary(RunFolder(tmp_path / "run"))
    assert made["reward"]["best"] == {"step": 2, "reward": 0.5}
    assert ("Reward", "0.1000 at step 1, 0.3000 at step 3, highest 0.5000 at step 2") in facts(made)
    assert made["eval_reward"] is None


def test_smoke_flag_of_the_run_brings_the_verdict_into_its_summary(tmp_path: Path):
    run_folders.begun(tmp_path / "run", recorded=10)
    write_json(tmp_path / "run" / "resolved.json", {"recipe": run_folders.RECIPE, "smoke": True})
    verdict = summary(RunFolder(tmp_path / "run"))["verdict"]
    assert [check["passed"] for check in verdict["checks"]] == [True, False, False]


def test_plan_stands_beside_what_the_run_took(tmp_path: Path):
    folder = run_folders.finished(tmp_path / "run")
    write_json(folder.plan, {"expected": expected({"training": Range(60, 120, 240)}).as_json()})
    EventLog(folder.events).append("forecast", step=20, seconds=90.0, message="m")
    made = summarise(read(folder))
    assert made["planned"] == {"low": 60, "likely": 120, "high": 240, "after_first_steps": 90}
    assert ("Planned", "2 min (1 min to 4 min); 1 min 30 s after the first steps") in facts(made)


@pytest.mark.parametrize("plan", [{}, {"expected": None}, {"expected": {"device": 3}}])
def test_run_without_an_estimate_says_nothing_of_a_plan(tmp_path: Path, plan: dict[str, Any]):
    folder = run_folders.finished(tmp_path / "run")
    write_json(folder.plan, plan)
    made = summarise(read(folder))
    assert made["planned"] is None
    assert "Planned" not in dict(facts(made))
