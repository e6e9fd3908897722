"""SIGTERM and SIGINT: noticed at once by a thread of their own, whatever the main thread computes.

Python runs a signal's handler only between two bytecodes of the main thread, and a backward pass is a single one that can
take seconds. A platform that wants its machine back gives about five. So the system's handler writes a byte into a
socket, and a thread that waits there acts.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

INTERRUPTED = 130
_SAME = 0.5
"""Seconds within which further signals count as the first: a group and the agent both pass one on."""
_WAKE = signal.SIGUSR2
"""What the main thread is interrupted with, so that it is not taken for a second signal from outside."""
_AGAIN = 0.1
"""Seconds after which the main thread is woken again: what comes just before a call begins to wait does not wake it."""
_GRACE = 1.0
"""Seconds after a KeyboardInterrupt before the next: a finaliser or a bare `except` may have swallowed it."""
_CLEANING = 60.0
"""The same where the main thread still handles the last one: what it cleans up is not left half done."""

_ENDING = (signal.SIGTERM, signal.SIGINT)

Leave = Callable[[signal.Signals], None]
Handler = Callable[[int, FrameType | None], None]


def _nothing(_number: int, _frame: FrameType | None) -> None:
    """For a signal that is taken elsewhere."""


@contextmanager
def heard(
    take: Callable[[signal.Signals], None], handle: Handler = _nothing, *others: signal.Signals
) -> Generator[None]:
    """Within, a thread gives each SIGTERM and SIGINT to `take` at once, whatever the main thread does. Call it there.

    The main thread runs `handle` when it comes to it, as it does for `others`.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    wakeup = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    before = {number: signal.signal(number, handle) for number in (*_ENDING, *others)}
    thread = threading.Thread(target=_listen, args=(reader, take), name="signals", daemon=True)
    thread.start()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup)
        writer.close()
        thread.join()
        reader.close()


def _listen(reader: socket.socket, take: Callable[[signal.Signals], None]) -> None:
    while numbers := reader.recv(64):
        for number in numbers:
            if number in _ENDING:
                take(signal.Signals(number))


class Watch:
    """Acts on signals: within `leaving(act)` a thread calls `act` and ends the process.

    Elsewhere the main thread gets KeyboardInterrupt, again and again until it leaves `kept()`, but not while it cleans up.
    A second signal ends the process at once, unless it has `only_first`: where an agent watches, that one's second word is
    SIGKILL, and a signal to the whole group comes twice, once from there and perhaps late.
    """

    def __init__(self, *, only_first: bool = False) -> None:
        self._only_first = only_first
        self.number: signal.Signals | None = None
        """The first signal that came."""
        self._act: Leave | None = None
        self._deciding = threading.Lock()
        self._is_kept = False
        self._interrupting = False
        self._first: float | None = None
        self._interrupted: float | None = None
        """When the main thread was interrupted last."""

    @contextmanager
    def leaving(self, act: Leave) -> Generator[None]:
        """Within, a signal makes another thread call `act`, and then leave with 130, without waiting for this one."""
        with self._deciding:
            self._act = act
        try:
            yield
        finally:
            with self._deciding:
                self._act = None

    @contextmanager
    def kept(self) -> Generator[Watch]:
        """Within, signals are watched for. Call it in the main thread."""
        self._is_kept = True
        with heard(self._take, self._handle, _WAKE):
            try:
                yield self
            finally:
                self._is_kept = False  # before anything that an interrupt could come into
                with self._deciding:
                    self._interrupting = False

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        if not (self._interrupting and self._is_kept):
            return
        now = time.monotonic()
        if self._interrupted is None or now - self._interrupted >= (_CLEANING if _cleans_up() else _GRACE):
            self._interrupted = now
            raise KeyboardInterrupt

    def _take(self, number: signal.Signals) -> None:
        now = time.monotonic()
        if self._first is not None:
            if now - self._first > _SAME and not self._only_first:
                os._exit(INTERRUPTED)
            return
        self._first, self.number = now, number
        # A second signal must be heard while the first is acted on.
        threading.Thread(target=self._decide, args=(number,), name="leaving", daemon=True).start()

    def _decide(self, number: signal.Signals) -> None:
        with self._deciding:
            if self._act is not None:
                self._leave(self._act, number)
            self._interrupting = self._is_kept
        while self._wake():
            time.sleep(_AGAIN if self._interrupted is None else _GRACE)

    def _leave(self, act: Leave, number: signal.Signals) -> NoReturn:
        try:
            act(number)
        except Exception:
            traceback.print_exc()  # for the log: nobody is there to catch it
        finally:
            os._exit(INTERRUPTED)

    def _wake(self) -> bool:
        """Has the main thread look whether it is to be interrupted; false once it has left."""
        with self._deciding:
            if self._interrupting:
                signal.pthread_kill(threading.main_thread().ident or 0, _WAKE)
            return self._interrupting


def _cleans_up() -> bool:
    """Whether this thread is within an `except`, a `finally` or an `__exit__` on account of a KeyboardInterrupt."""
    error = sys.exception()
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None
