"""Rented runs as a person has them: `lorry` in processes and terminals of its own, against an emulated cloud."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import yaml

import borrowed
import tiny_runs
from lorry.emulators.launch import Emulator
from lorry.track.events import Event, read
from lorry.track.folder import RunFolder
from lorry.track.store import Store

SOURCE = Path(__file__).parents[1] / "src"
PATIENCE = 90.0
"""Seconds for anything that is waited for: far more than it takes on a computer that does something else besides."""


@contextlib.contextmanager
def cloud(folder: Path, *, pace: float = 0.05) -> Generator[Emulator]:
    """An emulated RunPod whose machines have a scripted trainer; it ends with everything on it."""
    (folder / "image" / "bin").mkdir(parents=True)
    python = borrowed.image(folder / "image", scripted=True)
    words = [
        str(python),
        "-m",
        "lorry",
        "emulate",
        "runpod",
        "--home",
        str(folder / "cloud"),
        "--json",
        "--for",
        "1500",
    ]
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=log, text=True, env=_environment())
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, (folder / "server.log").read_text()
    emulator = Emulator(process, json.loads(line))
    emulator.control.settings(boot_seconds=0.1, ssh_seconds=0, environment={"LORRY_SCRIPTED_STEP": str(pace)})
    try:
        yield emulator
    finally:
        emulator.end()
        process.stdout.close()


def _environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    return {**kept, "PYTHONPATH": str(SOURCE), "NO_COLOR": "1", "COLUMNS": "200", **more}


class Person:
    """Somebody with a recipe, a home of lorry's and an account at the emulated cloud."""

    def __init__(self, folder: Path, home: Path, variables: dict[str, str]) -> None:
        self.folder = folder
        self.home = home
        self.variables = variables
        self.processes: list[subprocess.Popen[Any]] = []

    def recipe(self, *, steps: int = 20, every: int = 5, **sections: Any) -> str:
        """The path of a recipe that is rented for at the emulated cloud."""
        compute = {"on": ["runpod"], "gpu": ["RTX 4090"], **sections.pop("compute", {})}
        train = {"steps": steps, "save_every": every, "learning_rate": 2e-4, **sections.pop("train", {})}
        path = self.folder / "recipe.yaml"
        values = tiny_runs.recipe(self.folder, compute=compute, train=train, **sections)
        path.write_text(yaml.safe_dump(values), encoding="utf-8")
        return str(path)

    def lorry(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """A command, to its end, with nobody to ask."""
        return subprocess.run(
            self._words(words),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            env=self._env(variables),
            cwd=self.folder,
            check=False,
        )

    def begin(self, *words: str) -> subprocess.Popen[str]:
        """A command that goes on meanwhile."""
        log = (self.folder / f"out-{len(self.processes)}.txt").open("w")
        with log:
            process = subprocess.Popen(
                self._words(words),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                text=True,
                env=self._env({}),
                cwd=self.folder,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def said(self, process: subprocess.Popen[Any]) -> str:
        """What a command that goes on meanwhile has printed."""
        return (self.folder / f"out-{self.processes.index(process)}.txt").read_text()

    def terminal(self, *words: str) -> Terminal:
        """A command in a terminal."""
        found = Terminal(self._words(words), self._env({"TERM": "dumb"}), self.folder)
        self.processes.append(found.process)
        return found

    def run(self) -> RunFolder:
        """The last run."""
        return RunFolder(Store.open(self.home / "lorry.db").find("last").folder)

    def events(self) -> list[Event]:
        return list(read(self.run().events)) if (self.home / "lorry.db").exists() else []

    def until(self, seen: Callable[[list[Event]], Any]) -> list[Event]:
        """The last run's events, once they show something."""
        deadline = time.monotonic() + PATIENCE
        while True:
            with contextlib.suppress(Exception):
                if seen(events := self.events()):
                    return events
            assert time.monotonic() < deadline, [event.kind for event in self.events()][-20:]
            time.sleep(0.1)

    def until_step(self, step: int) -> list[Event]:
        return self.until(lambda events: any(event.kind == "step" and (event.step or 0) >= step for event in events))

    def until_over(self) -> list[Event]:
        return self.until(lambda events: events[-1].kind in ("finished", "failed", "stopped"))

    def end(self) -> None:
        """Ends what goes on, controllers that were started in the background among it."""
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
        for pid in background(self.home):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _words(self, words: tuple[str, ...]) -> list[str]:
        return [sys.executable, "-m", "lorry", *words]

    def _env(self, variables: dict[str, str]) -> dict[str, str]:
        return _environment(LORRY_HOME=str(self.home), **{**self.variables, **variables})


def background(home: Path) -> list[int]:
    """Controllers without a terminal that work for this home."""
    import psutil

    found: list[int] = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if "controller" in process.cmdline() and process.environ().get("LORRY_HOME") == str(home):
                found.append(process.pid)
    return found


class Terminal:
    """A command in a pseudo-terminal: what it says there, what is typed, Ctrl-C."""

    def __init__(self, words: list[str], environment: dict[str, str], folder: Path) -> None:
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            words,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment,
            cwd=folder,
            start_new_session=True,
            preexec_fn=_take_terminal,  # noqa: PLW1509 - Ctrl-C reaches whoever has the terminal
        )
        os.close(slave)
        self.text = ""
        self._at = 0

    def until(self, pattern: str) -> str:
        """Reads until something new is said."""
        deadline = time.monotonic() + PATIENCE
        while (found := re.compile(pattern).search(self.text, self._at)) is None:
            assert time.monotonic() < deadline, self.text[-3000:]
            assert self._read(), f"ended without {pattern!r}: {self.text[-3000:]}"
        self._at = found.end()
        return self.text

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def interrupt(self) -> None:
        self.type("\x03")

    def wait(self) -> int:
        """The exit code, once all that it says is read."""
        deadline = time.monotonic() + PATIENCE
        while self._read():
            assert time.monotonic() < deadline, self.text[-3000:]
        os.close(self.master)
        return self.process.wait(PATIENCE)

    def _read(self) -> bool:
        if not select.select([self.master], [], [], 0.5)[0]:
            return True
        try:
            found = os.read(self.master, 1 << 16)
        except OSError:  # the other side is closed
            return False
        self.text += found.decode("utf-8", "replace").replace("\r\n", "\n")
        return bool(found)


def _take_terminal() -> None:
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
