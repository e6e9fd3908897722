"""Signals that end this process, heard where a loop can act on them: in the coroutine that waits, and in no callback."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_NAMES = ("SIGTERM", "SIGHUP")
"""Those that a process is asked to end with; Windows has no SIGHUP."""
_Handler = Callable[[int, FrameType | None], Any]


@contextmanager
def heard() -> Generator[asyncio.Future[Callable[[], Any]]]:
    """Within, a signal that has a handler calls it no more, but gives what does: to be called by whoever awaits it.

    A handler raises wherever the process happens to be. In a loop that is any callback or task, which keeps what was raised to
    itself. `loop.add_signal_handler` would do the same, but leaves the handlers that were there unset, and Windows has none. As
    `asyncio.Runner` does for Ctrl-C, the loop is woken instead. Outside of the main thread nothing is heard.
    """
    loop = asyncio.get_running_loop()
    came: asyncio.Future[Callable[[], Any]] = loop.create_future()
    before = _handlers() if threading.current_thread() is threading.main_thread() else {}

    def note(number: int, frame: FrameType | None) -> None:
        def say() -> None:
            if not came.done():
                came.set_result(lambda: before[number](number, frame))

        loop.call_soon_threadsafe(say)

    try:
        for number in before:
            signal.signal(number, note)
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _handlers() -> dict[int, _Handler]:
    """The handlers of this process's own; a signal that is ignored, or ends it at once, stays so."""
    numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    found = {number: signal.getsignal(number) for number in numbers}
    return {number: handler for number, handler in found.items() if callable(handler)}
