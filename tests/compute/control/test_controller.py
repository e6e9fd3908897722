"""A controller that is told to end while its loop runs."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

import borrowed
import sshd
from lorry.compute.control import controller
from lorry.compute.control.controller import Settings
from lorry.track.events import Event
from lorry.track.leases import Leases

pytestmark = [sshd.needed(), pytest.mark.slow]


def test_signal_in_a_callback_of_the_loop_ends_the_controller_and_leaves_the_machine(
    tmp_path: Path, request: pytest.FixtureRequest
):
    class EndedError(BaseException):
        """What the process's own handler raises."""

    def end(_number: int, _frame: object) -> None:
        raise EndedError

    before = signal.signal(signal.SIGTERM, end)
    request.addfinalizer(lambda: signal.signal(signal.SIGTERM, before))

    def kill(event: Event) -> None:
        if event.kind == "step" and event.step == 3:
            # What is raised in a callback is given to the loop's exception handler, and to nobody else.
            asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGTERM)

    with borrowed.host(tmp_path) as machine:
        run = borrowed.begin(tmp_path, machine, steps=300)
        with pytest.raises(EndedError):
            controller.train(run.folder, kill, settings=Settings(borrowed.QUICK))
        assert [row.state for row in Leases.open().serving(run.id)] == ["rented"]
        assert not controller.is_controlled(run.folder)
