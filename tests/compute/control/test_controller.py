"""What a controller knows of a run before it is under way, and how it ends when it is told to."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

import borrowed
import sshd
import stalls
from lorry.compute.control import controller
from lorry.compute.control.controller import Settings
from lorry.compute.control.shared import Shared
from lorry.track.events import Event
from lorry.track.leases import Leases


def test_run_that_waits_for_its_turn_knows_what_a_person_agreed_to(tmp_path: Path):
    folder = stalls.folder(tmp_path / "b", agreed_usd=24.0, on=["runpod"])
    shared = Shared.open()
    assert controller._candidate(folder, shared).agreed_usd == 24.0
    asyncio.run(shared.close())


@sshd.needed()
@pytest.mark.slow
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
