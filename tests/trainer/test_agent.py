"""The agent with real trainers: what it survives, what it restarts, what it writes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from havoc import pids, wait_for_event
from lorry.secrets.masking import MASK
from lorry.trainer import launch
from lorry.trainer.agent import Agent
from lorry.trainer.checkpoint import steps, verify
from lorry.trainer.ladder import Rung
from tiny_runs import begin, events_of, recipe

LONG = {"steps": 100_000, "eval_every": 100_000, "save_every": 100_000, "log_every": 10}


def broken(folder: Path, code: str, **sections) -> subprocess.Popen[bytes]:
    """An agent whose trainer runs some code of ours first, as a faulty plugin or driver would."""
    (folder / "sitecustomize.py").write_text(f"import sys\nif 'lorry.trainer' in sys.orig_argv:\n    {code}\n")
    run = begin(recipe(folder, **sections))
    environment = {**launch.environment(), "PYTHONPATH": f"{folder}:{os.environ.get('PYTHONPATH', '')}"}
    run.folder.logs.mkdir()
    words = [sys.executable, "-m", "lorry.trainer.agent", str(run.folder.path)]
    process = subprocess.Popen(words, env=environment)
    process.run = run  # type: ignore[attr-defined]
    return process


@pytest.mark.parametrize(
    ("code", "attempts", "told"),
    [
        ("import os; os.abort()", 2, "SIGABRT"),
        ("import os; os._exit(77)", 2, "exit code 77"),
    ],
)
def test_trainer_that_dies_at_the_same_step_twice_is_not_started_a_third_time(tmp_path, code, attempts, told):
    process = broken(tmp_path, code)
    assert process.wait(timeout=120) != 0
    run = process.run
    assert max(event.attempt for event in run.events()) == attempts
    failed = events_of(run, "failed")[0].data
    assert told in failed["error"]
    assert "lorry resume" in failed["hint"]


def test_what_a_killed_trainer_started_ends_with_it(tmp_path):
    """As an engine that answers would: in a session of its own, silent, and deaf to what ends its parent."""
    words = ["sleep", f"60{os.getpid()}.{time.monotonic_ns()}"]
    start = f"subprocess.Popen({words}, start_new_session=True, stdout=-3, stderr=-3)"
    process = broken(tmp_path, f"import os, subprocess; {start}; os.kill(os.getpid(), 9)")
    assert process.wait(timeout=120) != 0
    assert max(event.attempt for event in process.run.events()) > 1
    left = [one for one in psutil.process_iter(["cmdline"]) if one.info["cmdline"] == words]
    for one in left:
        one.kill()
    assert left == []


def test_traceback_stands_in_the_log_and_its_last_line_in_the_event(tmp_path):
    patch = "import lorry.trainer.loop as loop; loop.Loop.run = lambda self: {}['nothing']"
    process = broken(tmp_path, patch)
    assert process.wait(timeout=120) == 1
    failed = events_of(process.run, "failed")
    assert [event.data["error"] for event in failed] == ["KeyError: 'nothing'"], "a fault in code is not tried again"
    assert "Traceback" in (process.run.folder.logs / "trainer.log").read_text()


def test_stalled_trainer_tells_where_it_stands_and_is_started_again(tmp_path):
    mark = tmp_path / "stalled-once"
    patch = (
        "import lorry.trainer.step as step, pathlib, time; plain = step.Stepper.gradients;"
        f" mark = pathlib.Path({str(mark)!r});"
        " step.Stepper.gradients = lambda self, number, *rest: (number == 3 and not mark.exists() and"
        " (mark.touch(), time.sleep(600))) or plain(self, number, *rest)"
    )
    process = broken(tmp_path, patch, train={"steps": 4, "stall_minutes": 0.05, "save_every": 1})
    assert process.wait(timeout=180) == 0
    run = process.run
    assert [event.data["phase"] for event in events_of(run, "stalled")] == ["training"]
    assert [event.data["action"] for event in events_of(run, "crashed")] == ["restart"]
    logs = "".join(file.read_text() for file in run.folder.logs.glob("trainer.log*"))
    assert "Current thread" in logs or "Thread 0x" in logs
    assert events_of(run, "finished")


def started(tmp_path: Path, **sections) -> tuple:
    run = begin(recipe(tmp_path, **sections))
    return run, launch.start(run.folder)


def test_agent_outlives_the_process_group_that_started_it(tmp_path):
    script = "import sys; sys.path.insert(0, sys.argv[1]); from tiny_runs import *; from lorry.trainer import launch\n"
    script += "run = begin(recipe(Path(sys.argv[2]))); launch.start(run.folder); print(run.folder.path, flush=True)\n"
    script += "import time; time.sleep(60)"
    words = [sys.executable, "-c", script, str(Path(__file__).parents[1]), str(tmp_path)]
    controller = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, start_new_session=True)
    folder = Path(controller.stdout.readline().strip())
    os.killpg(controller.pid, signal.SIGKILL)
    controller.wait()
    controller.stdout.close()
    until = time.monotonic() + 60
    while not (folder / "report.html").exists():
        assert time.monotonic() < until
        time.sleep(0.1)
    assert '"finished"' in (folder / "events.jsonl").read_text()


@pytest.mark.parametrize(("number", "cause"), [(signal.SIGTERM, "preempted"), (signal.SIGINT, "person")])
def test_signal_saves_the_last_step_says_so_and_ends_both_processes(tmp_path, number, cause):
    run, process = started(tmp_path, train=LONG)
    wait_for_event(run.folder, process, lambda event: event.kind == "step" and event.step >= 20)
    trainer = pids(run.folder)["trainer"]
    process.send_signal(number)
    assert process.wait(timeout=30) == 130
    stopped = events_of(run, "stopped")[0].data
    (saved,) = steps(run.folder.checkpoints)
    assert (stopped["cause"], stopped["reason"]) == (cause, f"stopped after step {saved}; its checkpoint is kept")
    verify(run.folder.checkpoints / f"step-{saved:06d}")
    assert not Path(f"/proc/{trainer}").exists()


def test_signal_to_the_whole_group_counts_once(tmp_path):
    run, process = started(tmp_path, train=LONG)
    wait_for_event(run.folder, process, lambda event: event.kind == "step" and event.step >= 20)
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(timeout=30) == 130
    assert "its checkpoint is kept" in events_of(run, "stopped")[0].data["reason"]


def test_trainer_ends_with_its_agent_and_saves(tmp_path):
    run, process = started(tmp_path, train=LONG)
    wait_for_event(run.folder, process, lambda event: event.kind == "step" and event.step >= 20)
    trainer = pids(run.folder)["trainer"]
    process.kill()
    process.wait()
    until = time.monotonic() + 20
    while Path(f"/proc/{trainer}/cmdline").exists() and Path(f"/proc/{trainer}/cmdline").read_bytes():
        assert time.monotonic() < until
        time.sleep(0.05)
    assert steps(run.folder.checkpoints)


def test_second_agent_of_a_run_leaves_it_alone(tmp_path):
    run, process = started(tmp_path, train=LONG)
    wait_for_event(run.folder, process, lambda event: event.kind == "started")
    words = [sys.executable, "-m", "lorry.trainer.agent", str(run.folder.path)]
    other = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130
    assert (other.returncode, "another agent" in other.stderr) == (75, True)


def test_heartbeat_names_processes_step_and_phase_and_says_when_all_has_ended(tmp_path):
    run, process = started(tmp_path)
    launch.watch(run.folder, process, lambda _event: None)
    beat = json.loads(run.folder.heartbeat.read_text())
    assert (beat["phase"], beat["trainer"], beat["step"]) == ("ended", 0, 4)


def test_only_the_last_five_logs_are_kept_over_many_attempts(tmp_path):
    run = begin(recipe(tmp_path))
    run.folder.logs.mkdir()
    for _ in range(3):
        launch.watch(run.folder, launch.start(run.folder), lambda _event: None)
    assert len(list(run.folder.logs.glob("trainer.log*"))) <= 5


def test_secret_that_the_trainer_prints_is_masked_in_its_log(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_SERVICE_TOKEN", "correct-horse-battery")
    process = broken(tmp_path, "import os; print('token', os.environ['MY_SERVICE_TOKEN']); os._exit(3)")
    process.wait(timeout=60)
    logs = "".join(file.read_text() for file in process.run.folder.logs.glob("trainer.log*"))
    assert f"token {MASK}" in logs
    assert "battery" not in logs


@pytest.mark.parametrize(("phase", "lower"), [("answering", (4, 8)), ("training", (2, 16)), ("scoring", (4, 8))])
def test_kernel_that_kills_for_memory_lowers_what_was_done_last(tmp_path, phase, lower):
    agent = Agent(begin(recipe(tmp_path)).folder)
    agent._take({"kind": "rung", "step": 0, "data": Rung(4, 1, False, 16, 16).as_dict()})
    agent._take({"beat": [phase, 3]})
    agent.vitals.memory_ran_out = lambda: True  # type: ignore[method-assign]
    assert not agent._is_over(agent._ending(-signal.SIGKILL, None))
    assert agent.rung is not None
    assert (agent.rung.micro_batch, agent.rung.generation_batch) == lower


def test_agent_imports_nothing_heavy():
    code = "import sys, lorry.trainer.agent; print([one for one in ('torch', 'transformers') if one in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_budget_is_counted_from_the_first_agent_on_however_long_ago_that_was(tmp_path):
    run = begin(recipe(tmp_path, train=LONG, budget={"hours": 10}))
    run.folder.heartbeat.write_text(json.dumps({"seconds": 11 * 3600}))
    assert launch.watch(run.folder, launch.start(run.folder), lambda _event: None).kind == "finished"
    assert [event.step for event in events_of(run, "limit")] == [1]
    assert 11 * 3600 < json.loads(run.folder.heartbeat.read_text())["seconds"] < 11 * 3600 + 300
