"""The whole story through its front doors: the SDK and the command line, with a real training process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

import lorry
from lorry import job
from lorry.errors import InputError, RunFailedError
from lorry.recipe.load import from_dict
from lorry.track.store import Store
from lorry.trainer import launch
from subjects import gpu, machine, subject
from tiny_runs import begin, recipe


def write_recipe(folder: Path, **sections) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe(folder, **sections)), encoding="utf-8")
    return path


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "lorry", *words]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory):
    """One run through the SDK, with the events that a watcher saw."""
    folder = tmp_path_factory.mktemp("done")
    before = os.environ.get("LORRY_HOME")
    os.environ["LORRY_HOME"] = str(folder / "home")
    seen = []
    try:
        run = lorry.run(write_recipe(folder), watch=seen.append)
        row = Store.open().find(run.id)
    finally:
        os.environ.pop("LORRY_HOME") if before is None else os.environ.update(LORRY_HOME=before)
    return run, seen, row


def test_run_leaves_everything_that_the_design_names(done):
    run = done[0]
    names = {path.name for path in run.folder.path.iterdir()}
    assert names >= {
        "recipe.yaml",
        "resolved.json",
        "plan.json",
        "plan.html",
        "provenance.json",
        "events.jsonl",
        "logs",
    }
    assert names >= {"checkpoints", "adapter", "eval", "report.md", "report.html", "summary.json"}
    assert (run.adapter / "README.md").read_text(encoding="utf-8").startswith("---\n")


def test_watcher_sees_every_event_once_and_in_order(done):
    run, seen, _ = done
    assert [event.seq for event in seen] == list(range(1, len(seen) + 1))
    assert list(run.events()) == seen


def test_run_stands_in_the_store_as_finished(done):
    run, _, row = done
    assert (row.status, row.step, row.steps) == ("finished", 4, 4)
    assert run.summary["status"] == "finished"


def test_run_uses_the_model_and_rows_that_were_hashed(done):
    provenance = json.loads(done[0].folder.provenance.read_text(encoding="utf-8"))
    assert all(len(digest) == 64 for digest in provenance["data"]["files"].values())
    assert len(provenance["model"]["frozen_sha256"]) == 64
    assert {"torch", "transformers", "peft"} <= provenance["versions"].keys()


def test_missing_data_is_refused_before_a_run_is_opened(tmp_path):
    path = write_recipe(tmp_path, data={"train": "nowhere.jsonl"})
    with pytest.raises(InputError, match=r"nowhere\.jsonl"):
        lorry.run(path)
    assert not (tmp_path / "lorry-home" / "runs").exists()


def test_recipe_object_runs_like_a_file(tmp_path):
    values = recipe(tmp_path, train={"learning_rate": 1e30, "max_grad_norm": 0, "warmup": 0})
    with pytest.raises(RunFailedError, match="not a number") as error:
        lorry.run(from_dict(values, tmp_path).recipe)
    assert "learning_rate" in error.value.hint
    assert Store.open().find("last").status == "failed"


def test_command_line_runs_a_smoke_run_to_its_verdict(tmp_path):
    words = command("run", str(write_recipe(tmp_path)), "--smoke", "--json")
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert "Traceback" not in done.stderr
    checks = {check["check"]: check["passed"] for check in json.loads(done.stdout)["verdict"]["checks"]}
    assert checks["checkpoint loads"]
    assert done.returncode == (0 if all(checks.values()) else 1)


def test_run_is_kept_before_a_controller_of_all_runs_can_see_it(tmp_path):
    wish = job.Wish(from_dict(recipe(tmp_path), tmp_path))
    seen: list[tuple[Path, list[str]]] = []
    opened = job.opened(
        wish, job.plan(wish), lambda folder: seen.append((folder.path, [row.id for row in Store.open().list()]))
    )
    assert seen == [(opened.folder.path, [])]
    assert Store.open().find("last").id == opened.id


def test_interrupt_saves_the_step_at_hand_and_ends_with_130(tmp_path):
    path = write_recipe(tmp_path, train={"steps": 100_000, "eval_every": 100_000})
    running = subprocess.Popen(command("run", str(path)), stderr=subprocess.PIPE, text=True)
    try:
        events = _wait_for(tmp_path / "lorry-home" / "runs", "step")
        running.send_signal(signal.SIGINT)
        told = running.communicate(timeout=120)[1]
    finally:
        running.kill()
    assert running.returncode == 130
    assert "error: stopped after step" in told
    assert any(events.parent.glob("checkpoints/step-*/manifest.json"))
    assert Store.open().find("last").status == "stopped"


def test_interrupt_before_training_is_told_as_a_stop(tmp_path):
    running = subprocess.Popen(command("run", str(write_recipe(tmp_path))), stderr=subprocess.PIPE, text=True)
    try:
        events = _wait_for(tmp_path / "lorry-home" / "runs", "data")
        time.sleep(0.5)  # the training process imports torch by now
        running.send_signal(signal.SIGINT)
        told = running.communicate(timeout=120)[1]
    finally:
        running.kill()
    assert running.returncode == 130
    assert "error: stopped" in told
    assert json.loads((events.parent / "summary.json").read_text(encoding="utf-8"))["status"] == "stopped"


def test_run_whose_terminal_was_closed_is_settled_by_the_training_process(tmp_path):
    running = subprocess.Popen(command("run", str(write_recipe(tmp_path))), stderr=subprocess.DEVNULL)
    try:
        _wait_for(tmp_path / "lorry-home" / "runs", "data")
        time.sleep(0.5)
    finally:
        running.kill()
        running.wait()
    folder = Store.open().find("last").folder
    _wait_until((folder / "report.html").exists)
    row = Store.open().find("last")
    assert (row.status, row.step, row.steps) == ("finished", 4, 4)


def test_process_that_dies_without_a_word_has_its_end_written_for_it(tmp_path):
    run = begin(recipe(tmp_path, train={"steps": 100_000}))
    process = launch.start(run.folder)
    ending = launch.watch(run.folder, process, lambda event: process.kill() if event.kind == "step" else None)
    assert (ending.kind, ending.data["exit_code"]) == ("failed", 1)
    assert "killed" in ending.data["error"]
    assert list(run.events())[-1] == ending


def test_run_whose_process_ended_before_training_began_is_interrupted(tmp_path):
    script = "import sys; sys.path.insert(0, sys.argv[1]); from tiny_runs import *; begin(recipe(Path(sys.argv[2])))"
    words = [sys.executable, "-c", script, str(Path(__file__).parent), str(tmp_path)]
    subprocess.run(words, check=True, capture_output=True, timeout=120)
    assert Store.open().find("last").status == "interrupted"


def _wait_for(runs: Path, kind: str) -> Path:
    """The events file of the one run there, once it has an event of this kind."""
    found: list[Path] = []

    def has_come() -> bool:
        found[:] = [one for one in runs.glob("*/events.jsonl") if f'"kind": "{kind}"' in one.read_text("utf-8")]
        return bool(found)

    _wait_until(has_come)
    return found[0]


def _wait_until(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 180
    while not holds():
        assert time.monotonic() < until, "it did not come to be"
        time.sleep(0.2)


def test_run_that_trains_while_the_store_is_rebuilt_is_listed_as_running(tmp_path):
    seen = []

    def rebuild_once(event):
        if event.kind == "step" and event.step == 2:
            Store.rebuild()
        elif event.kind == "step" and event.step == 4:
            seen.append(Store.open().find("last"))

    lorry.run(write_recipe(tmp_path), watch=rebuild_once)
    assert seen[0].step == 4
    assert seen[0].pid is not None


def test_gpu_that_the_plan_reckons_with_is_promised(tmp_path: Path):
    small, large = replace(gpu(), memory=8 * 10**9), gpu()
    promised = job._promised(subject(tmp_path, hardware=machine(large, small)))
    assert (promised.gpus, promised.gpu_memory) == (1, 8 * 10**9)
    assert promised.disk > 0
    assert job._promised(subject(tmp_path, hardware=machine())).gpus == 0
