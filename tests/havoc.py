"""Builders for tests that kill runs: begin one, end its processes at a moment, carry on until it has finished."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorry import resuming
from lorry.track.events import Event, follow, read
from lorry.track.folder import RunFolder
from lorry.track.process import started
from lorry.track.run import Run
from lorry.track.store import Store
from lorry.trainer import launch
from tiny_runs import begin

PATIENCE = 300.0
"""Seconds after which a run counts as one that never ends."""
_KINDS = ("loaded", "started", "step", "evaluated", "saved", "trained", "delivered", "scoring", "scored")


@dataclass(frozen=True)
class Moment:
    """When to kill: so long after the attempt began, at an event of a kind, or while a folder is written."""

    delay: float | None = None
    kind: str | None = None
    count: int = 1
    whole: bool = False
    """Kills the agent too, as a power cut does; else only the trainer."""

    @classmethod
    def drawn(cls, draw: random.Random, seconds: float) -> Moment:
        """A random moment of an attempt that takes about so many seconds."""
        whole = draw.random() < 0.4
        kind = draw.choice(("delay", "delay", "event", "writing"))
        if kind == "delay":
            return cls(delay=draw.uniform(0, seconds), whole=whole)
        if kind == "event":
            return cls(kind=draw.choice(_KINDS), count=draw.randint(1, 3), whole=whole)
        return cls(count=draw.randint(1, 4), whole=whole)


def survive(values: dict[str, Any], moments: list[Moment]) -> Run:
    """A run that is killed at each of these moments, one an attempt, and then left alone to its end."""
    run = begin(values)
    process = start(run)
    for moment in moments:
        if _killed_at(moment, run.folder, process) and moment.whole:
            process.wait(timeout=30)
            process = started_again(run)
    process.wait(timeout=PATIENCE)
    return run


def started_again(run: Run) -> subprocess.Popen[bytes]:
    """What `lorry resume` starts."""
    resuming.make_ready(resuming.Continuation(run.id))
    return start(run)


def start(run: Run) -> subprocess.Popen[bytes]:
    process = launch.start(run.folder)
    Store.open().update(run.id, status="running", pid=process.pid, pid_started=started(process.pid))
    return process


def pids(folder: RunFolder) -> dict[str, int]:
    """The agent's and the trainer's process, as the heartbeat tells."""
    with suppress(OSError, ValueError):
        return json.loads(folder.heartbeat.read_text("utf-8"))
    return {}


def _killed_at(moment: Moment, folder: RunFolder, process: subprocess.Popen[bytes]) -> bool:
    """Waits for the moment and kills; False where the run ended before it came."""
    trainer = _new_trainer(folder, process)
    if trainer is None or not _wait(moment, folder, process, trainer):
        return False
    if moment.whole:
        process.kill()
        process.wait()
    with suppress(ProcessLookupError):
        os.kill(trainer, signal.SIGKILL)
    if moment.whole:
        _wait_until(lambda: not _runs(trainer))
    return True


def _new_trainer(folder: RunFolder, process: subprocess.Popen[bytes]) -> int | None:
    """The trainer that runs now."""
    until = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < until:
        found = pids(folder)
        if found.get("agent") == process.pid and found.get("trainer") and _runs(found["trainer"]):
            return found["trainer"]
        time.sleep(0.005)
    return None


def _wait(moment: Moment, folder: RunFolder, process: subprocess.Popen[bytes], trainer: int) -> bool:
    begun = time.monotonic()
    after = max((event.seq for event in read(folder.events)), default=0)
    seen: set[Path] = set()

    def has_come() -> bool:
        if moment.delay is not None:
            return time.monotonic() - begun >= moment.delay
        if moment.kind is not None:
            return sum(event.kind == moment.kind for event in read(folder.events, after=after)) >= moment.count
        seen.update(folder.checkpoints.glob(".step-*"), folder.path.glob(".adapter.*"))
        return len(seen) >= moment.count

    while process.poll() is None and _runs(trainer):
        if has_come():
            return True
        time.sleep(0.001)
    return False


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _wait_until(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < until, "it did not come to be"
        time.sleep(0.01)


def wait_for_event(folder: RunFolder, process: subprocess.Popen[bytes], holds: Callable[[Event], bool]) -> Event:
    """The first event that fulfils a condition."""
    until = time.monotonic() + PATIENCE
    for event in follow(folder.events, ended=lambda: process.poll() is not None, pause=0.02):
        if holds(event):
            return event
        assert time.monotonic() < until
    raise AssertionError("the run ended before that came")
