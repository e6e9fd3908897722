"""Runs on an emulated cloud whose machines have a scripted trainer, and what must hold once they are over."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

import borrowed
import tiny_runs
from lorry.compute.control import controller
from lorry.compute.control.attempt import Patience
from lorry.compute.control.controller import Settings
from lorry.emulators import launch
from lorry.emulators.control import Control
from lorry.emulators.control_api import Machine
from lorry.emulators.launch import Emulator
from lorry.emulators.machine import processes
from lorry.track.events import Event, read
from lorry.track.leases import LeaseRow, Leases
from lorry.track.run import Run
from lorry.track.state import RunState, state

SOURCES = Path(__file__).parents[1] / "src"
QUICK = Settings(Patience(ready=15, silence=6, pause=0.3, tick=0.1))
GPU = "RTX 4090"


@dataclass
class Cloud:
    """An emulated cloud that can be killed and started again on the same home."""

    name: str
    home: Path
    python: Path
    emulator: Emulator = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        self.emulator = launch.start(self.name, self.home, python=self.python)

    def kill(self) -> None:
        """Ends the server as a crash would; its machines go on."""
        self.emulator.kill()

    @property
    def control(self) -> Control:
        return self.emulator.control

    def of_run(self, run: str) -> list[Machine]:
        """The machines that were rented for a run, ended ones too."""
        return [one for one in self.control.machines() if one.name.endswith(run[:40])]

    def disk(self, machine: Machine) -> Path:
        return Path(machine.folder) / "disk" / "root"

    def agent(self, machine: Machine) -> psutil.Process | None:
        """The agent on a machine, while there is one."""
        with suppress(OSError, ValueError, psutil.Error):
            found = psutil.Process(int((self.disk(machine) / ".lorry" / "agent.pid").read_text().split()[0]))
            return found if found.is_running() and found.status() != psutil.STATUS_ZOMBIE else None
        return None

    def init(self, machine: Machine) -> psutil.Process:
        """The first process of a machine."""
        return psutil.Process(int((Path(machine.folder) / "run" / "init.pid").read_text()))


@contextmanager
def cloud(
    folder: Path,
    name: str = "runpod",
    *,
    scripted: bool = True,
    pace: float = 0.02,
    environment: dict[str, str] | None = None,
) -> Generator[Cloud]:
    """A cloud for as long as the block runs, with its variables in this process; nothing of it is left after."""
    image = folder / "image"
    (image / "bin").mkdir(parents=True)
    python = borrowed.image(image, scripted=scripted)
    before = dict(os.environ)
    os.environ["PYTHONPATH"] = str(SOURCES)
    found = Cloud(name, folder / name, python)
    os.environ.update(found.emulator.variables)
    variables = {"LORRY_SCRIPTED_STEP": str(pace), **(environment or {})}
    found.control.settings(boot_seconds=0.2, ssh_seconds=0, environment=variables)
    try:
        yield found
    finally:
        found.emulator.end()
        for variable in set(os.environ) - set(before):
            del os.environ[variable]
        os.environ.update(before)
    assert processes.residents(found.home / "machines") == {}


def begin(
    folder: Path, name: str = "one", *, steps: int = 40, every: int = 5, on: str = "runpod", **sections: Any
) -> Run:
    """A run that is to train on the cloud."""
    compute = {"on": [on], "gpu": [GPU], **sections.pop("compute", {})}
    train = {"steps": steps, "save_every": every, **sections.pop("train", {})}
    budget = {"usd": 0.5, **sections.pop("budget", {})}
    values = tiny_runs.recipe(folder, compute=compute, train=train, budget=budget, **sections)
    return tiny_runs.begin({"name": name, **values})


def train(run: Run, watch: Callable[[Event], None] | None = None, settings: Settings = QUICK) -> Event:
    """Carries a run out in this process; its last event."""
    return controller.train(run.folder, watch or (lambda _event: None), settings=settings)


def when(act: Callable[[], Any], *, kind: str = "step", step: int = 0) -> Callable[[Event], None]:
    """Does something once, at the first event of a kind, or of a step that is at least so high."""
    done: list[int] = []

    def watch(event: Event) -> None:
        if event.kind == kind and (event.step or 0) >= step and not done:
            done.append(event.seq)
            act()

    return watch


@contextmanager
def controlled(run: Run) -> Generator[subprocess.Popen[bytes]]:
    """A controller of the run in a process of its own; killed at the end of the block if it is still there."""
    words = [sys.executable, str(Path(__file__).parent / "quick_controller.py"), run.id]
    with (run.folder.path / "controller.log").open("ab") as log:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def until(holds: Callable[[], Any], *, seconds: float = 20.0) -> Any:
    """What it returns, once that is true."""
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.01)
    return found


def leases(run: Run) -> list[LeaseRow]:
    return Leases.open().of_run(run.id)


def told(run: Run, kind: str) -> list[Event]:
    return [event for event in read(run.folder.events) if event.kind == kind]


def lost(run: Run) -> list[str]:
    """What befell it, in order."""
    return [event.data["outcome"] for event in told(run, "lost")]


def must_be_over(run: Run, cloud: Cloud, status: str) -> RunState:
    """What holds for every run that is over: it ended so, its events are whole, all is given back, and paid as written down."""
    now = state(read(run.folder.events))
    assert now.status == status, _last_words(run)
    events = list(read(run.folder.events))
    assert [event.seq for event in events] == list(range(1, len(events) + 1)), "numbers without gaps"
    must_be_last_records(events, now)
    assert [row for row in leases(run) if row.is_open] == []
    until(lambda: all(one.is_over and not one.pids for one in cloud.of_run(run.id)))
    must_be_paid(run, cloud)
    left = [path.name for path in run.folder.path.glob("**/.step-*")] + [
        path.name for path in run.folder.path.glob(".fetched*")
    ]
    assert not left, "nothing half copied is left"
    return now


def must_be_last_records(events: list[Event], now: RunState) -> None:
    """Each step is there once, as the last attempt told it."""
    last = {event.step: event for event in events if event.kind == "step"}
    assert all(last[step].seq == record.seq for step, record in now.records.items())
    attempts = [record.attempt for _, record in sorted(now.records.items())]
    assert attempts == sorted(attempts)


def must_be_paid(run: Run, cloud: Cloud) -> None:
    """What the cloud billed is what the ledger says, to some seconds; no cap was passed, no machine outlived its deadline."""
    rows = {row.machine_id: row for row in leases(run) if row.machine_id}
    billed = cloud.of_run(run.id)
    assert {one.id for one in billed} == set(rows), "each machine has its lease"
    for one in billed:
        row = rows[one.id]
        assert one.ended is not None
        assert row.deadline is not None
        assert one.ended <= row.deadline + 60, "none is billed past its deadline"
        written = row.usd(time.time())
        slack = 5 * row.usd_per_hour / 3600
        assert one.usd - slack <= written, "the ledger says no less than was billed"
    budget = run_budget(run)
    assert budget is None or sum(one.usd for one in billed) <= budget


def run_budget(run: Run) -> float | None:
    return json.loads(run.folder.resolved.read_text())["recipe"]["budget"]["usd"]


def must_be_finished(run: Run, cloud: Cloud, steps: int = 40) -> RunState:
    """A run that went through to its end: every step is there, and the adapter is the last one's."""
    now = must_be_over(run, cloud, "finished")
    assert sorted(now.records) == list(range(1, steps + 1))
    assert adapter_of(run) == steps
    return now


def adapter_of(run: Run) -> int:
    """The step that the adapter of a scripted run tells of."""
    return int.from_bytes((run.adapter / "adapter_model.safetensors").read_bytes()[-8:], "little")


def kill(process: psutil.Process | None) -> None:
    """Ends a process as a crash would; nothing where it is gone."""
    with suppress(psutil.NoSuchProcess):
        if process is not None:
            process.send_signal(signal.SIGKILL)


def _last_words(run: Run) -> str:
    events = [event for event in read(run.folder.events) if event.kind != "step"]
    return "\n".join(f"{event.seq} {event.kind} {event.data}" for event in events[-12:])
