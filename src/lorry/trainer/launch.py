"""Starts the agent that has a run trained, watches the events, and sees to the end. Imports no torch."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import cast

from lorry.errors import RefusedError, RunFailedError
from lorry.track.events import ENDINGS, Event, EventLog, follow, last_attempt
from lorry.track.folder import RunFolder
from lorry.trainer.channel import AGENT, ATTEMPT, BEGAN, FD, RUNG, TAKEN

Watcher = Callable[[Event], None]


def start(folder: RunFolder) -> subprocess.Popen[bytes]:
    """Starts a run's agent in a process and session of its own, so that closing the terminal does not end it.

    What it prints goes to `logs/agent.log`, what the trainer prints to `logs/trainer.log`.
    """
    folder.logs.mkdir(parents=True, exist_ok=True)
    with (folder.logs / "agent.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "lorry.trainer.agent", str(folder.path)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=environment(),
        )


@contextmanager
def interrupts_held() -> Generator[list[signal.Signals]]:
    """Within, Ctrl-C only adds to the list that is given, so that an agent that was started is also written down."""
    held: list[signal.Signals] = []
    if threading.current_thread() is not threading.main_thread():
        yield held
        return
    before = signal.signal(signal.SIGINT, lambda *_: held.append(signal.SIGINT))
    try:
        yield held
    finally:
        signal.signal(signal.SIGINT, before)


def watch(
    folder: RunFolder,
    process: subprocess.Popen[bytes],
    show: Watcher,
    *,
    after: int = 0,
    sent: Sequence[signal.Signals] = (),
) -> Event:
    """Gives every event with a number above `after` to `show` until the process ends; returns the one that ended the run.

    An interrupt from the keyboard is passed on: the trainer writes a checkpoint of its last step and ends; a second one
    half a second later or more, ends it at once, a third one the agent too. A process that ends without a word gets the
    event that it could not write. `sent` are signals that came before, and still have to be passed on. Raises RefusedError
    where another agent has the run.
    """
    seen = _Seen(show, after)
    waiting, sent = list(sent[:1]), list(sent[:1])
    while True:
        try:
            while waiting:
                process.send_signal(waiting.pop())
            for event in follow(folder.events, ended=lambda: process.poll() is not None, after=seen.number):
                seen.take(event)
            break
        except KeyboardInterrupt:
            sent.append(signal.SIGKILL if len(sent) > 1 else signal.SIGINT)
            waiting.append(sent[-1])
    if seen.ending is None and process.wait() == TAKEN:
        raise RefusedError(f"`{folder.id}` is trained by another agent", hint=f"follow it: `lorry logs -f {folder.id}`")
    if seen.ending is None:
        seen.take(_write_ending(folder, process.wait(), sent))
    return cast("Event", seen.ending)


class _Seen:
    """How far the events have been shown, and the one that ended the run."""

    def __init__(self, show: Watcher, number: int) -> None:
        self.number = number
        self.ending: Event | None = None
        self._show = show

    def take(self, event: Event) -> None:
        self.number = event.seq
        if event.kind in ENDINGS:
            self.ending = event
        self._show(event)


def _write_ending(folder: RunFolder, code: int, sent: Sequence[signal.Signals]) -> Event:
    """Says in the events of a process that is gone how it ended; `sent` are the signals that the person caused."""
    events = EventLog(folder.events, attempt=last_attempt(folder.events))
    if -code in sent:
        kept = "; the checkpoints are kept" if any(folder.checkpoints.glob("step-*")) else ""
        return events.append("stopped", reason=f"stopped at once{kept}", cause="person")
    hint = f"see {folder.logs / 'agent.log'}; `lorry resume {folder.id}` goes on from the last checkpoint"
    return events.append("failed", error=_last_words(code), hint=hint, exit_code=RunFailedError.exit_code)


def _last_words(code: int) -> str:
    if code == -signal.SIGKILL:
        return "the agent that supervised the training was killed"
    return f"the agent that supervised the training ended with exit code {code} and without a word"


_RENTING = frozenset({"RUNPOD_API_KEY", "VAST_API_KEY", "LAMBDA_API_KEY", "LAMBDA_CLOUD_API_KEY"})
"""Keys that rent machines: nothing that trains has any use for them."""
_OTHERS_RUN = frozenset(
    {
        *("RANK", "LOCAL_RANK", "GROUP_RANK", "ROLE_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE"),
        *("ROLE_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID"),
    }
)
"""What torchrun tells its processes."""


def environment() -> dict[str, str]:
    """The person's environment, without what would make the trainer reach out on its own or take part in another's run.

    Accelerate obeys its variables before its arguments: one of them alone divides every gradient. Variables between agent and
    trainer are set anew: those around this process would be of the run that it is part of.
    """
    left_out = _RENTING | _OTHERS_RUN | {FD, AGENT, ATTEMPT, RUNG, BEGAN}
    kept = {
        name: value for name, value in os.environ.items() if name not in left_out and not name.startswith("ACCELERATE_")
    }
    return {**kept, "HF_HUB_DISABLE_TELEMETRY": "1", "PYTHONUNBUFFERED": "1"}
