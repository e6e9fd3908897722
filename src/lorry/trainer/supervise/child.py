"""The trainer as the agent holds it: its process, what it says, what it prints."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, cast

import psutil

from lorry.secrets.masking import StreamMask
from lorry.track.folder import RunFolder
from lorry.trainer import heap
from lorry.trainer.channel import AGENT, FD
from lorry.trainer.supervise.orphan import end_left

Message = dict[str, Any]
_PIECE = 1 << 16


class Child:
    """One attempt of the trainer. It gets SIGTERM from the system when the agent dies."""

    def __init__(self, folder: RunFolder, variables: Mapping[str, str], log: Callable[[str], None]) -> None:
        """Starts it; `log` is given what it prints, whole lines without secrets, from another thread."""
        self.messages: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        """What it says; None when it can say no more."""
        reader, writer = os.pipe()
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-X", "faulthandler", "-m", "lorry.trainer", str(folder.path)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(writer,),
                env={**os.environ, **heap.environment(), **variables, FD: str(writer), AGENT: str(os.getpid())},
            )
        except OSError:
            os.close(reader)
            raise
        finally:
            os.close(writer)
        self._seen = psutil.Process(self.process.pid)
        self._threads = [
            threading.Thread(target=self._hear, args=(reader,), daemon=True),
            threading.Thread(target=self._copy, args=(log,), daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    @property
    def pid(self) -> int:
        """The process's number."""
        return self.process.pid

    def next_message(self, seconds: float) -> Message | None:
        """What it says next; None where it says nothing for so long."""
        try:
            return self.messages.get(timeout=seconds)
        except queue.Empty:
            return None

    def has_ended(self) -> bool:
        """Whether the process is gone and everything that it said can be taken."""
        if self.process.poll() is None:
            return False
        # What it started may hold the pipes open for longer than it lived.
        self._threads[0].join(timeout=5)
        return True

    def tell(self, number: signal.Signals) -> None:
        """Sends a signal; nothing where the process is gone."""
        with suppress(ProcessLookupError):
            self.process.send_signal(number)

    def close(self) -> None:
        """Waits for its last lines, and ends what it has started and left."""
        self._threads[1].join(timeout=5)
        if end_left(self._seen):
            self._threads[1].join(timeout=5)

    def _hear(self, descriptor: int) -> None:
        with os.fdopen(descriptor, "rb") as lines:
            for line in lines:
                if line.endswith(b"\n"):
                    self.messages.put(cast("Message", json.loads(line)))

    def _copy(self, log: Callable[[str], None]) -> None:
        stream = self.process.stdout
        if stream is None:
            return
        masked = StreamMask()
        with stream:
            while piece := stream.read1(_PIECE):  # type: ignore[attr-defined] - a pipe's stream is buffered
                self._log_lines(log, masked.feed(piece))
        self._log_lines(log, masked.close())

    def _log_lines(self, log: Callable[[str], None], text: bytes) -> None:
        if text:
            log(text.decode("utf-8", "replace").rstrip("\n"))
