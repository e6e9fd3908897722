"""A machine to be set up that is a folder here: commands run in `sh` with a home of their own, nothing else is pretended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Done:
    code: int
    out: bytes
    err: bytes


@dataclass
class LocalLink:
    """Runs commands as a link to a real machine does; `path` is what a session there has as PATH."""

    home: Path
    path: str = os.environ["PATH"]
    variables: dict[str, str] = field(default_factory=dict)
    commands: list[str] = field(default_factory=list)

    async def run(self, command: str, *, stdin: bytes = b"", seconds: float = 60, **_: object) -> Done:
        self.home.mkdir(parents=True, exist_ok=True)
        self.commands.append(command)
        variables = {"HOME": str(self.home), "PATH": self.path, "LANG": "C.UTF-8", **self.variables}
        return await asyncio.to_thread(_run, command, stdin, seconds, variables, self.home)


def _run(command: str, stdin: bytes, seconds: float, variables: dict[str, str], folder: Path) -> Done:
    pipe = subprocess.PIPE
    words = ["/bin/sh", "-c", command]
    with subprocess.Popen(
        words, stdin=pipe, stdout=pipe, stderr=pipe, env=variables, cwd=folder, start_new_session=True
    ) as process:
        try:
            out, err = process.communicate(stdin, timeout=seconds)
        except subprocess.TimeoutExpired:
            raise TimeoutError from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    return Done(process.returncode, out, err)


@dataclass
class ScriptedLink:
    """Answers each command as it is told."""

    answer: Callable[[str, bytes], Done]
    commands: list[str] = field(default_factory=list)

    async def run(self, command: str, *, stdin: bytes = b"", **_: object) -> Done:
        self.commands.append(command)
        return self.answer(command, stdin)
