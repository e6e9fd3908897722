"""Machines of runs that are over: which are asked for, and what keeps none of the others from it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import left_behind
from lorry.compute.control import controller
from lorry.compute.control.leftovers import Leftovers
from lorry.compute.control.shared import Shared
from lorry.track.leases import Leases


def left(only: frozenset[str] = frozenset()) -> tuple[list[str], list[str], list[str]]:
    """Runs whose machines are asked for, those whose are not, and what was said when they were looked for twice."""
    said: list[str] = []
    leftovers = Leftovers(Shared.open(), said.append)
    leftovers.left(only)
    leases, others = leftovers.left(only)
    return [one.row.serves for one in leases], [one.serves for one in others], said


def test_machines_of_runs_that_are_over_and_that_nobody_holds_are_asked_for(shed: Any):
    for run_id, status in {"over": "finished", "on": "running", "held": "stopped"}.items():
        folder = left_behind.run(run_id, status)
        left_behind.lease(shed, run_id)
    with controller.held(folder):
        assert left() == (["over"], [], [])
    assert left(frozenset({"held"})) == (["held"], [], [])


def test_run_that_is_over_by_its_events_alone_counts_as_over(shed: Any):
    end = '{"seq":2,"at":1,"kind":"finished","data":{"seconds":1}}\n'
    left_behind.run("over", "running", events=left_behind.CREATED + end)
    left_behind.lease(shed, "over")
    assert left()[0] == ["over"]


@pytest.mark.parametrize(
    "broken", [{"provider": "gone-shop"}, {"settings": {"no_such": "setting"}}, {"account": "0123456789ab"}]
)
def test_lease_that_cannot_be_asked_for_keeps_no_other_from_it_and_is_said_once(shed: Any, broken: dict[str, Any]):
    for run_id, how in {"broken": broken, "whole": {}}.items():
        left_behind.run(run_id)
        left_behind.lease(shed, run_id, **how)
    asked, others, said = left()
    assert (asked, others) == (["whole"], ["broken"])
    assert [line.split(":")[0] for line in said] == ["lorry-broken cannot be ended here, and may bill"]


def test_damaged_events_of_a_run_keep_no_machine_of_others_from_its_end(shed: Any):
    left_behind.run("broken", "running", events="{\n")
    left_behind.run("whole")
    rows = [left_behind.lease(shed, "broken"), left_behind.lease(shed, "whole")]
    shed.put(*left_behind.machines(*rows))

    async def work() -> None:
        ends = asyncio.create_task(Leftovers(Shared.open(), lambda _line: None).end(every=0.05))
        while [row.serves for row in Leases.open().opened()] != ["broken"]:
            await asyncio.sleep(0.05)
        ends.cancel()
        await asyncio.gather(ends, return_exceptions=True)

    asyncio.run(asyncio.wait_for(work(), 20))
