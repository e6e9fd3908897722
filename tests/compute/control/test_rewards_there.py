"""A run on another machine that learns from its own answers: the reward's file and its neighbour are found there."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import borrowed
import sshd
import tiny_rollouts
import tiny_runs
from borrowed import Controller, carry_out
from lorry.compute.outcomes import Outcome
from lorry.track.run import Run

pytestmark = sshd.needed()


def test_reward_of_ones_own_judges_on_the_machine(tmp_path: Path):
    with borrowed.host(tmp_path, scripted=False) as machine:
        recipe = tiny_rollouts.recipe(tmp_path, "grpo", train={"steps": 2, "eval_every": 2})
        (tmp_path / "rewards.py").write_text("from letters import share as vowels\n", encoding="utf-8")
        (tmp_path / "letters.py").write_text(
            "def share(completion):\n    return sum(one in 'aeiou' for one in completion) / max(len(completion), 1)\n",
            encoding="utf-8",
        )
        run = tiny_runs.begin({**recipe, "compute": {"on": [f"ssh:{machine.name}"], "gpu": ["cpu"]}})
        (tmp_path / "rewards.py").unlink()
        (tmp_path / "letters.py").unlink()
        assert carry_out(Controller(run)).outcome is Outcome.FINISHED, run.folder.events.read_text()[-2000:]
    steps = tiny_runs.events_of(run, "step")
    assert [event.step for event in steps] == [1, 2]
    assert all(0 < event.data["reward_vowels"] <= 1 for event in steps)
    assert not [event for event in tiny_runs.events_of(run, "warning") if "reward" in event.data["message"]]


def test_reward_that_is_in_the_repository_alone_is_found_in_its_clone(tmp_path: Path):
    repository = tmp_path / "repository"
    (repository / "judges").mkdir(parents=True)
    (repository / "judges" / "mine.py").write_text(
        "from beside import BONUS\ndef vowels(completion):\n    return BONUS\n"
    )
    (repository / "judges" / "beside.py").write_text("BONUS = 0.25\n")
    commit = committed(repository)
    with borrowed.host(tmp_path, scripted=False) as machine:
        recipe = tiny_rollouts.recipe(tmp_path, "grpo", train={"steps": 2}, method={"rewards": ["exact_match"]})
        recipe["method"]["rewards"] = ["judges/mine.py:vowels"]
        compute = {"on": [f"ssh:{machine.name}"], "gpu": ["cpu"], "code": f"file://{repository}@{commit}"}
        run = begun_in(tmp_path, {**recipe, "compute": compute})
        assert carry_out(Controller(run)).outcome is Outcome.FINISHED, run.folder.events.read_text()[-2000:]
    assert [event.data["reward"] for event in tiny_runs.events_of(run, "step")] == [0.25, 0.25]


def begun_in(folder: Path, values: dict[str, Any]) -> Run:
    """A run of a recipe that lies in this folder."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        return tiny_runs.begin(values)
    finally:
        os.chdir(before)


def committed(repository: Path) -> str:
    """The only commit of a new repository with these files."""
    own = ["-c", "user.name=A", "-c", "user.email=a@b.example"]
    for words in (["init", "--quiet"], ["add", "."], [*own, "commit", "--quiet", "-m", "Judge"]):
        subprocess.run(["git", *words], cwd=repository, check=True)
    return subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=repository, check=True, capture_output=True, text=True
    ).stdout.strip()
