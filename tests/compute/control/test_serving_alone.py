"""One controller process, as far as it needs no machine that trains: what it takes up, and when it may leave."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import left_behind
from lorry.cli.main import run as lorry
from lorry.compute.control import serving
from lorry.compute.control.serving import Server
from lorry.compute.control.shared import Shared
from lorry.errors import MayBillError
from lorry.track.leases import Leases


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "_LOOK", 0.1)


def serve(*only: str, stay: float = 60.0) -> None:
    """Serves until no run is left, and no machine to stay for."""

    async def work() -> None:
        server = Server(lambda _folder: None, Shared.open(), only=frozenset(only), stay=stay)
        await asyncio.wait_for(server.serve(until_idle=True), 30)

    asyncio.run(work())


def test_process_stays_until_the_machine_of_a_run_that_is_over_is_confirmed_to_be_gone(shed: Any):
    left_behind.run("over")
    shed.put(*left_behind.machines(left_behind.lease(shed, "over")), stubborn=2)
    serve("over")
    assert Leases.open().opened() == []


def test_machine_whose_end_nobody_confirms_is_told_when_the_process_leaves(shed: Any):
    left_behind.run("over")
    row = left_behind.lease(shed, "over")
    shed.put(*left_behind.machines(row), stubborn=1000)
    with pytest.raises(MayBillError) as caught:
        serve("over", stay=0.5)
    assert (
        caught.value.message
        == f"the machine `{row.machine_id}` at shed may still bill $1.00 an hour: its end is not confirmed"
    )
    assert caught.value.hint == f"shed end {row.machine_id}; or `lorry reap`"


def test_machine_that_cannot_be_asked_for_is_not_stayed_for_and_ends_with_4(
    shed: Any, capsys: pytest.CaptureFixture[str]
):
    left_behind.run("over")
    left_behind.lease(shed, "over", provider="gone-shop")
    assert lorry(["controller", "--until-idle"]) == 4
    assert "the console of gone-shop" in capsys.readouterr().err


def test_machine_of_a_run_that_was_not_asked_for_keeps_nobody(shed: Any):
    left_behind.run("other")
    left_behind.lease(shed, "other", provider="gone-shop")
    serve("another")


def test_run_that_cannot_be_looked_at_is_said_once_and_the_others_are_taken_up():
    left_behind.run("damaged", "running", events="{\n")
    shut = left_behind.run("shut", "running")
    shut.events.unlink()
    shut.events.mkdir()
    whole = left_behind.run("whole", "running")
    server = Server(lambda _folder: None, Shared.open())
    for _ in range(2):
        assert [folder.id for folder in server._uncontrolled(frozenset())] == [whole.id]
    assert [line.split()[1] for line in left_behind.told()] == ["damaged", "shut"]
    assert "this line is not an event" in left_behind.told()[0]
