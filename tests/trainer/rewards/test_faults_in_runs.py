"""Whole runs whose reward functions fail: they go on, say so once a rollout, and resume to the same bits."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

import tiny_rollouts
import tiny_runs
from lorry.track.run import Run
from lorry.trainer.process import work

PICKY = """
def vowels(completion):
    if sum(map(ord, completion)) % 3 == 0:
        raise ValueError(f"not {len(completion)}")
    return sum(letter in "aeiouy" for letter in completion)
"""


def recipe(folder: Path, text: str, **sections: Any) -> dict[str, Any]:
    values = tiny_rollouts.recipe(folder, "grpo", **sections)
    (folder / "rewards.py").write_text(text, encoding="utf-8")
    return values


def warnings(run: Run) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for event in tiny_runs.events_of(run, "warning"):
        if "a reward failed" in event.data["message"]:
            found.setdefault(event.step, []).append(event.data["message"])
    return found


def test_run_whose_function_fails_on_some_answers_resumes_to_the_same_bits(tmp_path: Path):
    run = tiny_runs.train_here(recipe(tmp_path, PICKY, train={"save_every": 1}))
    assert tiny_runs.events_of(run, "finished"), run.folder.events.read_text()[-2000:]
    told, calm = warnings(run), tiny_runs.weights(run)
    assert told
    assert all(len(messages) == 1 for messages in told.values())
    tiny_runs.cut_back(run, 3)
    work(run.folder.path)
    assert tiny_runs.weights(run) == calm
    again = {step: messages[1:] for step, messages in warnings(run).items() if step > 3}
    assert again == {step: messages for step, messages in told.items() if step > 3}, (
        "what came after the cut is told again"
    )


def test_run_whose_function_always_ends_its_process_comes_to_its_end(tmp_path: Path):
    text = "import os\ndef vowels(completion):\n    os._exit(1)\n"
    run = tiny_runs.train_here(recipe(tmp_path, text, train={"steps": 2}))
    assert tiny_runs.events_of(run, "finished"), run.folder.events.read_text()[-2000:]
    (message,) = warnings(run)[1]
    assert "vowels: its process has ended (of 4 answers 4 could not be judged)" in message
    assert [event.data["reward_vowels"] for event in tiny_runs.events_of(run, "step")] == [0.0, 0.0]


@pytest.mark.parametrize(
    ("text", "told"),
    [(None, "there is no `"), ("def other(completion): ...", "there is no function `vowels`, but other")],
    ids=["file", "function"],
)
def test_file_or_function_that_is_not_there_when_it_begins_ends_the_run_with_a_hint(
    text: str | None, told: str, tmp_path: Path
):
    values = recipe(tmp_path, text or "")
    if text is None:
        (tmp_path / "rewards.py").unlink()
    run = tiny_runs.train_here(values)
    (failed,) = tiny_runs.events_of(run, "failed")
    assert told in failed.data["error"]
    assert failed.data["hint"]
    assert failed.data["exit_code"] == 2
    assert not tiny_runs.events_of(run, "step")


def test_trainer_that_is_killed_leaves_no_function_behind_that_hangs(tmp_path: Path):
    text = f"import time\nPLACE = {str(tmp_path / 'at')!r}\ndef vowels(completion):\n    open(PLACE, 'w').write('1')\n"
    values = recipe(tmp_path, text + "    time.sleep(600)\n")
    values["method"]["rewards"] = [
        {"name": "python", "file": str(tmp_path / "rewards.py"), "function": "vowels", "timeout": 600}
    ]
    run = tiny_runs.begin(values)
    trainer = os.fork()
    if trainer == 0:
        try:
            work(run.folder.path)
        finally:
            os._exit(0)
    deadline = time.monotonic() + 120
    while not (tmp_path / "at").exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    children = psutil.Process(trainer).children()
    os.kill(trainer, signal.SIGKILL)
    os.waitpid(trainer, 0)
    assert children
    assert psutil.wait_procs(children, timeout=20)[1] == []
