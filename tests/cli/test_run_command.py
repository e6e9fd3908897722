"""`lorry run`, up to the moment when training starts: the plan, the one question, the dry run."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import yaml

import tiny_runs
from lorry.cli.main import run
from lorry.cli.outcome import View, follow
from lorry.errors import RunFailedError
from lorry.job import Watcher
from lorry.track.events import Event
from lorry.track.run import Run

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(tiny_runs.recipe(tmp_path)), encoding="utf-8")
    return str(path)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """How each run that would have been started answers questions."""
    found: list[str] = []
    monkeypatch.setattr("lorry.cli.outcome.follow", lambda act, _view: act(print))
    monkeypatch.setattr("lorry.job.train_as_planned", lambda wish, _plan, _watch: found.append(wish.answers))
    return found


def answering(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("lorry.cli.output.can_ask", lambda: True)
    monkeypatch.setattr("sys.stdin", io.StringIO(text))


def test_run_says_first_what_it_will_take(recipe: str, started: list[str], capsys: Capture):
    assert run(["run", recipe]) == 0
    told = capsys.readouterr().out
    assert "4 steps, batch 4 x 1 = 4" in told
    assert "Memory    this computer" in told
    assert started == ["none"]


def test_dry_run_starts_nothing(recipe: str, started: list[str], lorry_home: Path, capsys: Capture):
    assert run(["run", recipe, "--dry-run"]) == 0
    assert "Memory    this computer" in capsys.readouterr().out
    assert started == []
    assert not (lorry_home / "runs").exists()


def test_dry_run_as_json_is_the_plan(recipe: str, started: list[str], capsys: Capture):
    assert run(["run", recipe, "--dry-run", "--json", "-o", "data.max_length=64"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert {"findings", "memory", "time", "cost", "offers", "expected"} <= plan.keys()
    assert started == []


def test_dry_run_shows_what_is_wrong_and_exits_as_check_does(recipe: str, started: list[str], capsys: Capture):
    assert run(["run", recipe, "--dry-run", "-o", "lora.target_modules=[q_prj]"]) == 2
    assert "no module called `q_prj`" in capsys.readouterr().out


@pytest.mark.parametrize(("answer", "begun"), [("yes\n", ["ask"]), ("\n", ["ask"]), ("no\n", []), ("later\n", [])])
def test_run_that_costs_money_is_asked_about(
    recipe: str, started: list[str], answer: str, begun: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Capture
):
    answering(monkeypatch, answer)
    assert run(["run", recipe, "-o", "budget.price_per_hour=60"]) == 0
    assert "about $" in capsys.readouterr().err
    assert started == begun


def test_budget_stands_in_the_question(
    recipe: str, started: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Capture
):
    answering(monkeypatch, "no\n")
    run(["run", recipe, "-o", "budget.price_per_hour=9000", "-o", "budget.usd=0.5"])
    assert "training ends in time for $0.50; start it?" in capsys.readouterr().err


def test_nobody_is_asked_after_yes_and_about_what_costs_nothing(
    recipe: str, started: list[str], monkeypatch: pytest.MonkeyPatch
):
    answering(monkeypatch, "")
    assert run(["run", recipe, "--yes", "-o", "budget.price_per_hour=60"]) == 0
    assert run(["run", recipe]) == 0
    assert started == ["yes", "ask"]


@pytest.mark.parametrize(("answer", "stops"), [("no\n", True), ("yes\n", False), ("", False)])
def test_no_to_going_on_past_the_budget_stops_as_ctrl_c_does(answer: str, stops: bool, monkeypatch: pytest.MonkeyPatch):
    answering(monkeypatch, answer)
    overrun = Event(1, 0.0, "overrun", step=20, data={"seconds": 9e9, "message": "too dear", "action": "ask"})

    def act(watch: Watcher) -> Run:
        watch(overrun)
        raise RunFailedError("went on")

    with pytest.raises(KeyboardInterrupt if stops else RunFailedError):
        follow(act, View())
