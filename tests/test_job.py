"""The whole story through its front doors: the SDK and the command line, with a real training process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

import lorry
from lorry.errors import InputError, RunFailedError
from lorry.recipe.load import from_dict
from lorry.track.store import Store
from tiny_runs import recipe


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
    assert names >= {"recipe.yaml", "resolved.json", "plan.json", "provenance.json", "events.jsonl", "logs"}
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


def test_interrupt_saves_the_step_at_hand_and_ends_with_130(tmp_path):
    path = write_recipe(tmp_path, train={"steps": 100_000, "eval_every": 100_000})
    running = subprocess.Popen(command("run", str(path)), stderr=subprocess.PIPE, text=True)
    try:
        events = _wait_for_step(tmp_path / "lorry-home" / "runs")
        running.send_signal(signal.SIGINT)
        told = running.communicate(timeout=120)[1]
    finally:
        running.kill()
    assert running.returncode == 130
    assert "error: stopped after step" in told
    assert any(events.parent.glob("checkpoints/step-*/manifest.json"))
    assert Store.open().find("last").status == "stopped"


def _wait_for_step(runs: Path) -> Path:
    """The events file of the one run there, once it has recorded a step."""
    until = time.monotonic() + 180
    while time.monotonic() < until:
        for events in runs.glob("*/events.jsonl"):
            if '"kind": "step"' in events.read_text(encoding="utf-8"):
                return events
        time.sleep(0.2)
    raise AssertionError("no step was taken")
