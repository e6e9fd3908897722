"""A signal that comes while a loop runs: its handler's word reaches whoever waits, wherever the process was."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Iterator

import pytest

from lorry.compute.control import signals

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no signal is sent to a process of Windows")


class EndedError(BaseException):
    """What the process's own handler raises."""


def end(_number: int, _frame: object) -> None:
    raise EndedError


@pytest.fixture(autouse=True)
def _own_handler() -> Iterator[None]:
    before = signal.signal(signal.SIGTERM, end)
    yield
    signal.signal(signal.SIGTERM, before)


def kill() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


async def wait_for_it(*, calls: int = 1) -> None:
    """Waits with a task of somebody else's beside, in whose callback the signals come."""

    async def other() -> None:
        for _ in range(calls):
            kill()
        await asyncio.sleep(60)

    task = asyncio.create_task(other())
    try:
        with signals.heard() as came:
            (await came)()
    finally:
        assert not task.done(), "it lands in nobody's task"
        task.cancel()


@pytest.mark.parametrize("calls", [1, 2])
def test_signal_in_another_task_is_raised_where_it_is_waited_for(calls: int):
    with pytest.raises(EndedError):
        asyncio.run(asyncio.wait_for(wait_for_it(calls=calls), 10))
    assert signal.getsignal(signal.SIGTERM) is end


def test_loop_that_sleeps_is_woken():
    async def work() -> None:
        with signals.heard() as came:
            threading.Timer(0.2, kill).start()
            (await came)()

    with pytest.raises(EndedError):
        asyncio.run(asyncio.wait_for(work(), 10))


def test_signal_that_has_no_handler_stays_as_it_is():
    async def work() -> object:
        with signals.heard():
            return signal.getsignal(signal.SIGTERM)

    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    assert asyncio.run(work()) is signal.SIG_IGN


def test_nothing_is_changed_outside_of_the_main_thread():
    async def work() -> None:
        with signals.heard() as came:
            assert signal.getsignal(signal.SIGTERM) is end
            assert not came.done()

    thread = threading.Thread(target=lambda: asyncio.run(work()))
    thread.start()
    thread.join()
