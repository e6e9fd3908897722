"""The process that rehearses: `python -m lorry.plan.rehearsal.worker ROOM`, started early, since torch takes seconds to import.

It waits for a line on stdin, and then does each part in a process forked from itself: the imports are made once, and a
resumed run finds nothing in memory of the one before. What it says goes through the pipe that the trainer uses, too, a
JSON object a line: `{"stage": NAME}` as one begins, `{"told": TEXT}` of that stage, `{"doing": TEXT}`,
`{"changed": LINE}`, `{"warned": TEXT}`, `{"fault": {...}}`, at the end `{"done": true}`, and the trainer's events and beats.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from lorry.errors import LorryError
from lorry.plan.rehearsal.task import Task
from lorry.trainer.channel import FD

_PR_SET_PDEATHSIG = 1  # prctl(2)
_LEAST, _MOST = 3 * 2**30, 8 * 2**30
_SHARE = 0.7
"""Bytes that a part may take: this share of what is free, within these bounds."""
_FRAMES = 6
"""The last lines of a traceback that are told."""


class Teller:
    """Says what goes on, through the pipe."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def say(self, **message: Any) -> None:
        """Sends one message."""
        line = (json.dumps(message, default=str) + "\n").encode()
        while line:
            line = line[os.write(self.descriptor, line) :]


Part = Callable[[Task, Teller], None]


def main(room: Path) -> int:
    """Does all parts, until one fails; 0 if none did."""
    teller = Teller(int(os.environ.pop(FD)))
    _end_with_parent()
    parts = _parts()
    if not sys.stdin.readline():
        return 130
    task = Task.open(room)
    for part in parts:
        if not _apart(part, task, teller):
            return 1
    teller.say(done=True)
    return 0


def _parts() -> list[Part]:
    """The parts in order. Whatever they need is imported here, and nothing is computed, so that this process can fork."""
    import lorry.trainer.process  # noqa: F401  # pyright: ignore[reportUnusedImport]
    from lorry.plan.rehearsal import parts

    return [parts.score_own_answers, parts.make_model, parts.train, parts.verify, parts.resume, parts.load_plainly]


def _apart(part: Part, task: Task, teller: Teller) -> bool:
    """Does one part in a process of its own; whether it went well."""
    number = os.fork()
    if number == 0:
        os._exit(_done(part, task, teller))
    _, status = os.waitpid(number, 0)
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        with suppress(ValueError):
            teller.say(fault={"error": f"the process was ended by {signal.Signals(-code).name}", "kind": "Killed"})
    return code == 0


def _done(part: Part, task: Task, teller: Teller) -> int:
    _end_with_parent()
    _print_into(task.room.log)
    _bound_memory()
    try:
        part(task, teller)
    except SystemExit as error:
        return int(error.code or 0)
    except BaseException as error:
        traceback.print_exc()
        teller.say(fault=_described(error))
        return 1
    return 0


def _described(error: BaseException) -> dict[str, Any]:
    """What the parent makes a finding of."""
    if isinstance(error, LorryError):
        told = {"error": error.message, "hint": error.hint, "place": error.place}
        return {**told, "kind": type(error).__name__, "exit_code": error.exit_code}
    lines = "".join(traceback.format_exception(error)).rstrip().splitlines()
    return {"error": f"{type(error).__name__}: {error}", "kind": type(error).__name__, "trace": lines[-_FRAMES:]}


def _print_into(log: Path) -> None:
    """Whatever is printed goes into the log."""
    sys.stdout.flush()
    sys.stderr.flush()
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)


def _end_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _bound_memory() -> None:
    """Lets allocations fail, as they would on a full machine, before this one is full."""
    if sys.platform != "linux":
        return
    most = int(min(max(_SHARE * psutil.virtual_memory().available, _LEAST), _MOST))
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (bound, hard))


if __name__ == "__main__":
    for name, value in (("TOKENIZERS_PARALLELISM", "false"), ("TRANSFORMERS_VERBOSITY", "error")):
        os.environ.setdefault(name, value)
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    sys.exit(main(Path(sys.argv[1])))
