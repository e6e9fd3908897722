"""The worker of a rehearsal as the one who waits for it holds it: its process, what it says, how long it may take."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

from lorry.plan.rehearsal.room import Room, signals_held
from lorry.trainer import launch
from lorry.trainer.channel import FD

Message = dict[str, Any]
_IMPORTING = 120.0
"""Seconds that importing may take: most of it is reading files, on a cold disk many."""
_NO_GPU = {"CUDA_VISIBLE_DEVICES": "", "HIP_VISIBLE_DEVICES": "", "ROCR_VISIBLE_DEVICES": ""}


class Late(Exception):  # noqa: N818 - an ending, as StopIteration is one
    """The time is up."""


class Worker:
    """A worker that is starting: it imports what it needs, and waits."""

    def __init__(self, room: Room) -> None:
        """Starts it, in a session of its own, with no GPU in sight and a home and a folder for temporary files in the room."""
        reader, writer = os.pipe()
        places = {"LORRY_HOME": room.home, "TMPDIR": room.scratch, "HF_MODULES_CACHE": room.scratch / "modules"}
        own = {**_NO_GPU, **{name: str(place) for name, place in places.items()}, FD: str(writer)}
        try:
            with room.log.open("ab") as log:
                self.process = subprocess.Popen(
                    [sys.executable, "-X", "faulthandler", "-m", "lorry.plan.rehearsal.worker", str(room.path)],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    pass_fds=(writer,),
                    start_new_session=True,
                    env={**launch.environment(), **own},
                )
        except BaseException:
            os.close(reader)
            raise
        finally:
            os.close(writer)
        self._heard: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        threading.Thread(target=self._hear, args=(reader,), daemon=True).start()

    def messages(self, seconds: float) -> Iterator[Message]:
        """Lets it begin, and gives what it says until it ends. Raises Late when it takes longer than `seconds`.

        They count from the first word on: importing has its own.
        """
        ends_at, has_begun = time.monotonic() + max(seconds, _IMPORTING), False
        if self.process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.write(b"begin\n")
                self.process.stdin.flush()
        while True:
            try:
                message = self._heard.get(timeout=max(0.0, ends_at - time.monotonic()))
            except queue.Empty:
                raise Late from None
            if message is None:
                return
            if not has_begun:
                ends_at, has_begun = time.monotonic() + seconds, True
            yield message

    def end(self) -> None:
        """Ends it with all that it started. Returns when it is gone; doing it again changes nothing."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        if self.process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()

    def _hear(self, descriptor: int) -> None:
        with os.fdopen(descriptor, "rb") as lines:
            for line in lines:
                if line.endswith(b"\n"):
                    self._heard.put(json.loads(line))
        self._heard.put(None)


@contextmanager
def working(room: Room) -> Generator[Worker]:
    """A worker, which is gone when the block is left."""
    worker = None
    try:
        with signals_held():
            worker = Worker(room)
        yield worker
    finally:
        if worker is not None:
            worker.end()
