"""The process in which a person's reward function runs, from outside; `_called.py` is what it runs.

A line of JSON goes in for each answer, and one comes back: `{"score": 0.5}` or `{"error": "ValueError: ..."}`. Whatever the
function prints goes to the run's log. A process that hangs or dies is replaced by a new one.
"""

from __future__ import annotations

import json
import math
import os
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, cast

from lorry.errors import RecipeError
from lorry.trainer.rewards._base import Completion, Fault


class Worker:
    """One function at work."""

    def __init__(self, file: Path, function: str, timeout: float, start_timeout: float) -> None:
        self._file = file
        self._function = function
        self._timeout = timeout
        self._start_timeout = start_timeout
        self._process: subprocess.Popen[bytes] | None = None
        self._left = b""

    def start(self) -> None:
        """Starts the process. Raises RecipeError where the file cannot be imported, or has no such function."""
        words = [sys.executable, "-m", "lorry.trainer.rewards._called", str(self._file), self._function]
        self._left = b""
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=self._file.parent)
        answer = self._line(self._process, self._start_timeout)
        told = answer.get("error") if answer else f"nothing came of it within {self._start_timeout:g} seconds"
        if told:
            self.close()
            hint = "see that the file can be imported by itself: `python FILE`"
            place = f"{self._file.name}:{self._function}"
            raise RecipeError(f"the reward function cannot be used: {told}", place=place, hint=hint)

    def scores(self, completions: Sequence[Completion]) -> list[float | Fault | None]:
        """One after another; what fails is a fault of that answer alone."""
        return [self._score(one) for one in completions]

    def close(self) -> None:
        """Ends the process."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        process.wait()

    def _score(self, one: Completion) -> float | Fault | None:
        if self._process is None:
            try:
                self.start()
            except RecipeError as error:
                return Fault(error.message)
        process = self._process
        if process is None:
            return Fault("its process does not start")
        answer = self._line(process, self._timeout) if _ask(process, one) else None
        if answer is None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=0.1)  # one that has just ended is not yet known to have
            ended = process.poll() is not None
            self.close()
            return Fault("its process has ended" if ended else f"took longer than {self._timeout:g} seconds")
        return _score_in(answer)

    def _line(self, process: subprocess.Popen[bytes], seconds: float) -> dict[str, Any] | None:
        """The next answer; None where none comes in time, or the process has ended."""
        descriptor, end = cast("IO[bytes]", process.stdout).fileno(), time.monotonic() + seconds
        while b"\n" not in self._left:
            readable, _, _ = select.select([descriptor], [], [], max(end - time.monotonic(), 0.0))
            part = os.read(descriptor, 65_536) if readable else b""
            if not part:
                return None
            self._left += part
        line, _, self._left = self._left.partition(b"\n")
        return json.loads(line)


def _ask(process: subprocess.Popen[bytes], one: Completion) -> bool:
    """Hands it an answer; whether it takes it."""
    asked = {
        "prompt": one.prompt,
        "completion": one.text,
        "messages": one.messages,
        "answer": one.truth,
        "columns": dict(one.columns),
    }
    pipe = cast("IO[bytes]", process.stdin)
    try:
        pipe.write(json.dumps(asked, default=str).encode("utf-8", "surrogatepass") + b"\n")
        pipe.flush()
    except OSError:
        return False
    return True


def _score_in(answer: dict[str, Any]) -> float | Fault | None:
    if "error" in answer:
        return Fault(str(answer["error"]))
    score = answer.get("score")
    if score is None:
        return None
    return float(score) if math.isfinite(float(score)) else Fault(f"gave {score}, which is no number to learn from")
