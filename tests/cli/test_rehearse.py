"""`lorry rehearse`, as it is typed: what it shows, its exit codes, and that an interrupt leaves nothing behind."""

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
import yaml

from lorry.cli.main import run
from lorry.plan.rehearsal.outcome import STAGES
from rehearsals import left_in
from tiny_runs import recipe

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe(tmp_path, train={"learning_rate": 2e-4})), encoding="utf-8")
    return str(path)


def test_stages_come_line_by_line_with_a_verdict(file: str, capsys: Capture):
    assert run(["rehearse", file]) == 0
    shown = capsys.readouterr()
    lines = [line.split() for line in shown.out.splitlines() if line.startswith("passed")]
    assert [" ".join(words[1:]) for words in lines if " ".join(words[1:]).startswith(("plain", "check"))]
    assert len(lines) == len(STAGES)
    assert "what only the run itself can tell:\n  memory and speed of the true model" in shown.out
    assert "every stage passed, in " in shown.err
    assert f"start it: `lorry run {file}`" in shown.err


def test_wrong_input_exits_with_2_and_rehearses_nothing(file: str, capsys: Capture):
    assert run(["rehearse", file, "--json", "-o", "lora.target_modules=[q_prj]"]) == 2
    told = json.loads(capsys.readouterr().out)
    assert (told["passed"], told["exit_code"]) == (False, 2)
    assert [stage["name"] for stage in told["stages"]] == ["check"]
    assert "targets.missing" in [finding["code"] for finding in told["findings"]]
    assert told["unknown"]


def test_failure_exits_with_3_and_names_its_stage(file: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PYTHONPATH", "")
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert run(["rehearse", file]) == 3
    shown = capsys.readouterr()
    assert "FAILED    start" in shown.out
    assert "the process that rehearses ended with exit code 1  [rehearsal.start]" in shown.out
    assert "failed at start" in shown.err


def test_folder_without_a_tokenizer_is_refused(file: str, tmp_path: Path, capsys: Capture):
    assert run(["rehearse", file, "--tokenizer", str(tmp_path)]) == 2
    assert "there is no tokenizer.json  [rehearsal.tokenizer]" in capsys.readouterr().out


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("stage", ["check", "metrics"])
def test_interrupt_leaves_nothing_behind(
    file: str, tmp_path: Path, lorry_home: Path, number: signal.Signals, code: int, stage: str
):
    (tmp_path / "tmp").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "lorry", "rehearse", file],
        stdout=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path / "tmp"), "PYTHONUNBUFFERED": "1"},
    )
    started = _workers(process, stage)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == code
    assert not any(lives(pid) for pid in started)
    assert list((tmp_path / "tmp").iterdir()) == []
    assert left_in(lorry_home) == set()


def lives(pid: int) -> bool:
    """Whether a process still does something; one that nobody has waited for does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _workers(process: subprocess.Popen[bytes], stage: str) -> list[int]:
    """Waits until the worker is there (`check`), or until a stage has passed; the processes below the command."""
    assert process.stdout is not None
    while stage != "check" and not process.stdout.readline().startswith(f"passed    {stage}".encode()):
        assert process.poll() is None
    while not (found := psutil.Process(process.pid).children(recursive=True)):
        time.sleep(0.02)
    return [child.pid for child in found]
