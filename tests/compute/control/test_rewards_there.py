"""A run on another machine that learns from its own answers: the reward's file and its neighbour are found there."""

from __future__ import annotations

from pathlib import Path

import borrowed
import sshd
import tiny_rollouts
import tiny_runs
from borrowed import Controller, carry_out
from lorry.compute.outcomes import Outcome

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
