"""The process in which a person's reward function runs, from outside; `_called.py` is what it runs.

A line of JSON goes in for each answer, and one comes back: `{"score": 0.5}` or `{"error": "ValueError: ..."}`. Whatever the
function prints goes to the run's log. A process that hangs or dies is replaced by a new one. Whatever it has started, also in
a session of its own, ends with it, when it is replaced, when the run is over, and when the trainer is killed (`_keeper.py`).
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, cast

from lorry.errors import RecipeError
from lorry.secrets.found import environment_without
from lorry.trainer.rewards._base import Completion, Fault, as_score

_LONGEST = 1 << 20
"""Bytes of a line that comes back."""
_PATIENCE = 10.0
"""Seconds that the keeper may take to end all; it gives up on what cannot be killed before."""


class Worker:
    """One function at work."""

    def __init__(self, file: Path, function: str, timeouts: tuple[float, float], secrets: Sequence[str] = ()) -> None:
        """`timeouts` are seconds for an answer, and for the start; `secrets` are names of variables that it may see."""
        self._file = file.absolute()
        self._function = function
        self._timeout, self._start_timeout = timeouts
        self._secrets = tuple(secrets)
        self._process: subprocess.Popen[bytes] | None = None
        self._left = b""
        self._has_ended = False
        """Whether nothing can come from the present process any more."""
        self._broken: tuple[float, str] = (0.0, "")
        """Until when no new process is tried, and why."""

    def start(self) -> None:
        """Starts the process. Raises RecipeError where the file cannot be imported, or has no such function."""
        words = [sys.executable, "-m", "lorry.trainer.rewards._called"]
        words += [str(self._file), self._function, str(os.getpid())]
        self._left, self._has_ended = b"", False
        # A session of its own: Ctrl-C in a terminal is not for it.
        self._process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
            env=environment_without(*self._secrets),
        )
        os.set_blocking(cast("IO[bytes]", self._process.stdin).fileno(), False)
        answer = self._line(self._process, self._start_timeout)
        told = self._lost(self._process, self._start_timeout) if answer is None else answer.get("error")
        if told:
            self.close()
            hint = "see that the file can be imported by itself: `python FILE`"
            place = f"{self._file.name}:{self._function}"
            raise RecipeError(f"the reward function cannot be used: {told}", place=place, hint=hint)

    def scores(self, completions: Sequence[Completion]) -> list[float | Fault | None]:
        """One after another; what fails is a fault of that answer alone."""
        return [self._score(one) for one in completions]

    def close(self) -> None:
        """Ends the process, and what it has started."""
        process, self._process = self._process, None
        if process is None:
            return
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _score(self, one: Completion) -> float | Fault | None:
        process = self._process or self._anew()
        if process is None:
            return Fault(self._broken[1])
        answer = self._line(process, self._timeout) if _ask(process, one, self._timeout) else None
        if answer is None:
            told = self._lost(process, self._timeout)
            self.close()
            return Fault(told)
        return _score_in(answer)

    def _anew(self) -> subprocess.Popen[bytes] | None:
        """A new process in place of one that is gone; one that cannot start takes a tenth of the time at most."""
        began = time.monotonic()
        if began < self._broken[0]:
            return None
        try:
            self.start()
        except RecipeError as error:
            now = time.monotonic()
            self._broken = now + 10 * (now - began), error.message
        return self._process

    def _lost(self, process: subprocess.Popen[bytes], seconds: float) -> str:
        """Why nothing came."""
        has_ended = self._has_ended or process.poll() is not None
        return "its process has ended" if has_ended else f"took longer than {seconds:g} seconds"

    def _line(self, process: subprocess.Popen[bytes], seconds: float) -> dict[str, Any] | None:
        """The next answer; None where none comes in time, or the process has ended."""
        descriptor, end = cast("IO[bytes]", process.stdout).fileno(), time.monotonic() + seconds
        while b"\n" not in self._left:
            readable, _, _ = select.select([descriptor], [], [], max(end - time.monotonic(), 0.0))
            part = os.read(descriptor, 65_536) if readable else b""
            self._has_ended = bool(readable) and not part
            if not part or len(self._left) > _LONGEST:
                return None
            self._left += part
        line, _, self._left = self._left.partition(b"\n")
        try:
            found = json.loads(line)
        except ValueError:
            return None
        return cast("dict[str, Any]", found) if isinstance(found, dict) else None


def _ask(process: subprocess.Popen[bytes], one: Completion, seconds: float) -> bool:
    """Hands it an answer; whether it takes it."""
    asked = {
        "prompt": one.prompt,
        "completion": one.text,
        "messages": one.messages,
        "answer": one.truth,
        "columns": dict(one.columns),
    }
    descriptor, end = cast("IO[bytes]", process.stdin).fileno(), time.monotonic() + seconds
    left = json.dumps(asked, default=str).encode("ascii") + b"\n"
    try:
        while left:
            _, writable, _ = select.select([], [descriptor], [], max(end - time.monotonic(), 0.0))
            if not writable:
                return False
            left = left[os.write(descriptor, left) :]
    except OSError:
        return False
    return True


def _score_in(answer: dict[str, Any]) -> float | Fault | None:
    if "error" in answer:
        return Fault(str(answer["error"]))
    score = answer.get("score")
    if score is None:
        return None
    return (
        as_score(score) if isinstance(score, int | float) else Fault(f"gave {score}, which is no number to learn from")
    )
