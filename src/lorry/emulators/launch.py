"""Starts an emulated cloud as a process of its own, and ends it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

from lorry.emulators.control import Control
from lorry.errors import RunFailedError

_PATIENCE = 60.0


class Emulator:
    """A running emulator: its address, its key, its control API."""

    def __init__(self, process: subprocess.Popen[str], told: dict[str, Any]) -> None:
        self.process = process
        self.url: str = told["url"]
        self.key: str = told["key"]
        self.home = Path(told["home"])
        self.variables: dict[str, str] = told["variables"]
        """What a client needs: set them in its environment."""
        self.control = Control(told["control"])

    def kill(self) -> None:
        """Ends the server as a crash would; its machines go on, and the next one on the same home takes them over."""
        self.process.kill()
        self.process.wait()
        self.control.close()

    def end(self) -> None:
        """Ends the server and its machines; returns when both have ended."""
        self.control.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start(cloud: str, home: Path, *options: str, python: Path | None = None) -> Emulator:
    """Starts `lorry emulate CLOUD` on a home of its own; returns when it listens. Raises RunFailedError where it does not.

    `python` runs it, and is what its machines have; by default the one that runs this.
    """
    words = [str(python or sys.executable), "-m", "lorry", "emulate", cloud, "--home", str(home), "--json", *options]
    home.mkdir(parents=True, exist_ok=True)
    with (home / "server.log").open("a") as log:
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL, text=True)
    with process.stdout or contextlib.nullcontext() as output:
        line = output.readline() if output is not None else ""
    if not line:
        process.wait()
        told = (home / "server.log").read_text(errors="replace").strip()
        raise RunFailedError(f"the emulator did not start: {told[-2000:]}", hint=f"see {home / 'server.log'}")
    return Emulator(process, json.loads(line))


@contextlib.contextmanager
def running(cloud: str, home: Path, *options: str) -> Generator[Emulator]:
    """An emulator for as long as the block runs; its variables are set in this process meanwhile."""
    emulator = start(cloud, home, *options)
    before = {name: os.environ.get(name) for name in emulator.variables}
    os.environ |= emulator.variables
    try:
        yield emulator
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)
        emulator.end()
