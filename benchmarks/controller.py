"""What it takes to follow hundreds of machines from one controller process, and how old what `lorry ps` shows may get.

    python benchmarks/controller.py [MACHINES] [--seconds 60] [--folder /tmp]

Each machine is an OpenSSH server of its own on loopback, with a home of its own, on which a run is training: its folder and its
`events.jsonl` are as the agent writes them. One stand-in for all agents adds a step a second to each: emulated machines, each
with an agent and a trainer of its own, would need more memory and processors than a desk has. `lorry controller` is the real
command, and takes all runs up as after a crash. Once every row has moved, its processor time, its memory and the ages of the
rows are taken over so many seconds.

An age is the larger of the time since the row was written and the steps by which it is behind the machine, a second each.
"""

from __future__ import annotations

import argparse
import getpass
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

STEP = {"loss": 1.0, "learning_rate": 1e-4, "grad_norm": 1.0, "trained_tokens": 512, "tokens_per_second": 900.0}
PATIENCE = 600.0
"""Seconds within which every run must have been taken up."""


@dataclass(frozen=True)
class Machine:
    """One machine, and the run on it."""

    run_id: str
    folder: Path
    """The run's, there."""
    server: Any


def main() -> None:
    """Prints what the controller took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("machines", nargs="?", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--train", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.train:
        train(json.loads(options.train.read_text(encoding="utf-8")))
        return
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 65536), most))
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        os.environ["LORRY_HOME"] = f"{folder}/home"
        with machines(Path(folder), options.machines) as there:
            measure(Path(folder), there, options.seconds)


def measure(folder: Path, there: Sequence[Machine], seconds: float) -> None:
    """Has them trained on and followed, and prints what that took."""
    from lorry.track.store import Store

    store = Store.open()
    stand_in, controller = [__file__, "--train", _listed(folder, there)], ["-m", "lorry", "controller"]
    with process(folder, "stand-in", stand_in), process(folder, "controller", controller) as found:
        began = time.monotonic()
        while behind := [row.id for row in store.list() if not row.step]:
            if time.monotonic() - began > PATIENCE:
                raise SystemExit(f"{len(behind)} of {len(there)} runs were not taken up")
            time.sleep(1)
        print(f"{len(there)} runs were taken up within {time.monotonic() - began:.0f} s")
        report(found, samples(found, store, there, seconds), seconds)


def samples(
    controller: psutil.Process, store: Any, there: Sequence[Machine], seconds: float
) -> Iterator[tuple[float, float, list[float]]]:
    """Processor seconds, memory in bytes and the ages of all rows, every two seconds."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        rows = {row.id: row for row in store.list()}
        now = time.time()
        ages = [
            max(now - row.updated_at, _last_step(one) - (row.step or 0)) for one in there if (row := rows[one.run_id])
        ]
        spent = controller.cpu_times()
        yield spent.user + spent.system, float(controller.memory_info().rss), ages
        time.sleep(2)


def report(controller: psutil.Process, found: Iterator[tuple[float, float, list[float]]], seconds: float) -> None:
    """Prints the measured."""
    began = time.monotonic()
    taken = list(found)
    took = time.monotonic() - began
    cores = (taken[-1][0] - taken[0][0]) / (took - 2)
    ages = [max(each) for _, _, each in taken]
    print(f"processor: {cores:.2f} cores over {seconds:.0f} s")
    print(f"memory: {max(rss for _, rss, _ in taken) / 1e6:.0f} MB, {len(controller.children())} child processes")
    print(f"threads: {controller.num_threads()}, open files: {controller.num_fds()}")
    print(f"age of the oldest row: median {median(ages):.1f} s, worst {max(ages):.1f} s")
    print(f"load of this computer: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")


@contextmanager
def process(folder: Path, name: str, words: list[str]) -> Generator[psutil.Process]:
    """A Python process for as long as the block runs; what it says stands in a log."""
    with (folder / f"{name}.log").open("ab") as log:
        child = subprocess.Popen([sys.executable, *words], stdout=log, stderr=log)
    try:
        yield psutil.Process(child.pid)
    except BaseException:
        sys.stderr.write((folder / f"{name}.log").read_text(errors="replace")[-4000:])
        raise
    finally:
        child.send_signal(signal.SIGINT)
        try:
            child.wait(60)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


@contextmanager
def machines(folder: Path, count: int) -> Generator[list[Machine]]:
    """So many machines with a run on each, as a controller that has died leaves them."""
    import tiny_runs
    from lorry.compute import ssh

    home = Path(os.environ["LORRY_HOME"])
    key = ssh.installation_key(home)
    pattern = {"on": ["ssh:nobody@127.0.0.1"], "gpu": ["cpu"]}
    first = tiny_runs.begin(tiny_runs.recipe(folder, compute=pattern, train={"steps": 1_000_000}))
    there: list[Machine] = []
    try:
        for number in range(count):
            there.append(one_machine(folder / f"machine-{number}", first.folder, key.public))
        shutil.rmtree(first.folder.path)
        _forget(first.id)
        yield there
    finally:
        for one in there:
            one.server.stop()


def one_machine(folder: Path, pattern: Any, public_key: str) -> Machine:
    """A machine, and its run as it is there and here."""
    import sshd

    home = folder / "home"
    (home / ".lorry").mkdir(parents=True)
    session = folder / "session"
    session.write_text(f'#!/bin/sh\nexport HOME={home}\ncd\nexec sh -c "$SSH_ORIGINAL_COMMAND"\n', encoding="utf-8")
    session.chmod(0o755)
    server = sshd.start(folder, public_key, extra=f"ForceCommand {session}\n")
    run_id = f"{pattern.id}-{folder.name}"
    run = home / "lorry" / "runs" / run_id
    run.mkdir(parents=True)
    (run / "aboard.json").write_text("{}", encoding="utf-8")
    (home / ".lorry" / "run").write_text(str(run), encoding="utf-8")
    at_home(pattern, run_id, f"{getpass.getuser()}@127.0.0.1:{server.port}", server.host_key)
    return Machine(run_id, run, server)


def at_home(pattern: Any, run_id: str, host: str, host_key: str) -> None:
    """A run's folder, row and lease here, as they are while it trains."""
    from lorry.compute.lease import name_for
    from lorry.track.events import EventLog
    from lorry.track.folder import RunFolder
    from lorry.track.leases import LeaseRow, Leases
    from lorry.track.store import Store

    folder = RunFolder(pattern.path.with_name(run_id))
    shutil.copytree(pattern.path, folder.path)
    facts = json.loads(folder.resolved.read_text(encoding="utf-8"))
    facts["recipe"]["compute"]["on"] = [{"name": "ssh", "hosts": [host]}]
    folder.resolved.write_text(json.dumps(facts), encoding="utf-8")
    now, store = time.time(), Store.open()
    named = {"name": run_id, "folder": folder.path, "model": "tiny", "method": "sft"}
    store.add(run_id, **named, created_at=now)
    lease = LeaseRow(
        name_for(run_id),
        run_id,
        1,
        "ssh",
        settings={"hosts": [host]},
        state="rented",
        machine_id=host,
        host=host,
        host_key=host_key,
        asked_at=now,
        rented_at=now,
        ready_at=now,
        deadline=now + 86400,
    )
    Leases(store).add(lease)
    log = EventLog(folder.events)
    rented = {"machine": host, "provider": "ssh", "usd_per_hour": 0.0, "message": host}
    after = log.append("rented", lease=lease.name, **rented).seq
    log.append("sent", lease=lease.name, after=after, bytes=0)
    log.append("ready", lease=lease.name, seconds=0.0)


def train(there: Mapping[str, int]) -> None:
    """Stands in for all agents: a step a second on each machine, a heartbeat every five."""
    since = Path("/proc/self/stat").read_text(encoding="ascii").rpartition(")")[2].split()[19]
    for folder in there:
        (Path(folder).parents[2] / ".lorry" / "agent.pid").write_text(f"{os.getpid()} {since}\n", encoding="ascii")
    began, step = time.monotonic(), 0
    while True:
        step += 1
        for folder, after in there.items():
            _add_step(Path(folder), after + step, step)
        time.sleep(max(0.0, began + step - time.monotonic()))


def _add_step(folder: Path, seq: int, step: int) -> None:
    now = time.time()
    event = {"seq": seq, "at": now, "kind": "step", "attempt": 1, "step": step, "data": {**STEP, "memory_bytes": 1}}
    with (folder / "events.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(event) + "\n")
    if step % 5 == 1:
        beat = {"at": now, "attempt": 1, "step": step, "phase": "training", "seconds": float(step)}
        (folder / "heartbeat.json").write_text(json.dumps(beat), encoding="utf-8")


def _listed(folder: Path, there: Sequence[Machine]) -> str:
    """A file that tells the stand-in where to write, and after which event."""
    from lorry.track.events import last_number
    from lorry.track.folder import home

    after = {str(one.folder): last_number(home() / "runs" / one.run_id / "events.jsonl") - 2 for one in there}
    path = folder / "machines.json"
    path.write_text(json.dumps(after), encoding="utf-8")
    return str(path)


def _last_step(one: Machine) -> int:
    with (one.folder / "events.jsonl").open("rb") as file:
        file.seek(-min(1024, file.seek(0, os.SEEK_END)), os.SEEK_END)
        return int(json.loads(file.read().split(b"\n")[-2])["step"])


def _forget(run_id: str) -> None:
    """Takes a run out of the store: the others were made in its image."""
    import sqlite3

    with sqlite3.connect(f"{os.environ['LORRY_HOME']}/lorry.db") as database:
        database.execute("DELETE FROM runs WHERE id = ?", (run_id,))


if __name__ == "__main__":
    main()
