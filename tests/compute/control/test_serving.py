"""Many runs in one controller process, on real SSH servers with the real agent."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import borrowed
import sshd
from borrowed import Host, steps_of
from lorry.compute.control import controller, serving
from lorry.compute.control.controller import Settings
from lorry.compute.control.serving import Server
from lorry.compute.control.shared import Shared
from lorry.errors import LorryError
from lorry.track.events import EventLog
from lorry.track.folder import RunFolder, home
from lorry.track.leases import Leases
from lorry.track.run import Run
from lorry.track.store import Store

pytestmark = [sshd.needed(), pytest.mark.slow]


@pytest.fixture
def machine(tmp_path: Path):
    with borrowed.host(tmp_path) as found:
        yield found


def serve(*, settled: list[str] | None = None, seconds: float = 90) -> None:
    """Serves until no run is left."""

    async def work() -> None:
        shared = await asyncio.to_thread(Shared.open)
        server = Server(lambda folder: (settled or []).append(folder.id), shared, Settings(borrowed.QUICK))
        async with asyncio.timeout(seconds):
            await server.serve(until_idle=True)

    asyncio.run(work())


def ending(run: Run) -> str:
    return list(run.events())[-1].kind


def test_runs_share_one_process_and_each_gets_its_machine(tmp_path, machine: Host):
    with borrowed.host(tmp_path / "other") as other:
        runs = [borrowed.begin(tmp_path, one, steps=40) for one in (machine, other)]
        serve()
    assert [ending(run) for run in runs] == ["finished", "finished"]
    assert [steps_of(run) for run in runs] == [list(range(1, 41))] * 2
    assert not Leases.open().opened()


def test_host_is_handed_to_the_run_that_waits_for_it(tmp_path, machine: Host):
    first = borrowed.begin(tmp_path, machine, steps=60, compute={"wait_hours": 1})
    second = borrowed.begin(tmp_path, machine, steps=20, compute={"wait_hours": 1})
    serve()
    assert [ending(run) for run in (first, second)] == ["finished", "finished"]
    (row,) = [one for one in Leases.open().since() if one.rented_at]
    assert (row.serves, row.state) == (max((first, second), key=lambda run: list(run.events())[-1].at).id, "ended")
    kinds = [[event.kind for event in run.events()] for run in (first, second)]
    assert sum("handed" in each for each in kinds) == 1
    assert sum("returned" in each for each in kinds) == 1
    assert all("rented" in each for each in kinds)


def test_host_that_is_handed_over_holds_nothing_of_the_first_run(tmp_path, machine: Host):
    runs = [borrowed.begin(tmp_path, machine, compute={"wait_hours": 1}) for _ in range(2)]
    serve()
    kept = [path.name for path in (machine.folder / "lorry" / "runs").iterdir()]
    assert kept == [one.serves for one in Leases.open().since() if one.rented_at]
    assert {run.id for run in runs} > set(kept)


def test_run_that_cannot_be_controlled_rests_and_holds_no_other_up(tmp_path, machine: Host, monkeypatch):
    monkeypatch.setattr(serving, "_REST", (0.1, 0.2))
    broken, whole = borrowed.begin(tmp_path, machine), borrowed.begin(tmp_path, machine)
    broken.folder.needs.write_text("{")

    async def work() -> None:
        server = Server(lambda _folder: None, Shared.open(), Settings(borrowed.QUICK))
        task = asyncio.create_task(server.serve(until_idle=True))
        while ending(whole) != "finished":
            await asyncio.sleep(0.2)
        assert not task.done(), "it is looked at again"
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(asyncio.wait_for(work(), 60))
    assert broken.id in (home() / "logs" / "controller.log").read_text()


def test_row_is_never_older_than_its_machine_tells(tmp_path, machine: Host):
    run = borrowed.begin(tmp_path, machine, steps=400)
    ages: list[float] = []

    async def look() -> None:
        import time

        while ending(run) not in ("finished", "failed"):
            await asyncio.sleep(0.5)
            row = Store.open().find(run.id)
            if row.step:
                ages.append(time.time() - row.updated_at)

    async def work() -> None:
        server = Server(lambda _folder: None, Shared.open(), Settings(borrowed.QUICK))
        await asyncio.gather(server.serve(until_idle=True), look())

    asyncio.run(asyncio.wait_for(work(), 90))
    assert ages
    assert max(ages) < 15


def test_process_that_serves_leaves_machines_as_they_are_when_it_ends(tmp_path, machine: Host):
    run = borrowed.begin(tmp_path, machine, steps=10_000)

    async def work() -> None:
        server = Server(lambda _folder: None, Shared.open(), Settings(borrowed.QUICK))
        task = asyncio.create_task(server.serve(until_idle=True))
        while not steps_of(run):
            await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(asyncio.wait_for(work(), 60))
    assert machine.agent().is_running()
    assert [row.state for row in Leases.open().serving(run.id)] == ["rented"]
    assert not controller.is_controlled(run.folder)


def test_run_of_another_process_is_left_to_it(tmp_path, machine: Host):
    run = borrowed.begin(tmp_path, machine)
    with controller.held(run.folder):
        serve(seconds=20)
    assert ending(run) != "finished"


def test_run_that_ended_when_its_controller_died_is_settled(tmp_path, machine: Host):
    run = borrowed.begin(tmp_path, machine)
    EventLog(run.folder.events).append("stopped", reason="stopped", cause="person")
    settled: list[str] = []
    Store.open().update(run.id, status="running")

    async def work() -> None:
        server = Server(lambda folder: settled.append(folder.id), Shared.open(), Settings(borrowed.QUICK))
        await server.serve(until_idle=True)

    asyncio.run(asyncio.wait_for(work(), 20))
    assert settled == [run.id]


def test_limit_of_open_files_is_never_lowered():
    import resource

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    serving.allow_many_files()
    after = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert after[0] >= before[0]
    assert after[1] == before[1]


def test_run_that_has_ended_is_known_by_its_last_event(tmp_path):
    folder = RunFolder(tmp_path)
    assert not controller.has_ended(folder)
    lines = ['{"seq":1,"at":1,"kind":"note","data":{"message":"%s"}}' % ("x" * 40_000)]
    lines.append('{"seq":2,"at":1,"kind":"finished","data":{"seconds":1}}')
    folder.events.write_text("\n".join(lines) + "\n")
    assert controller.has_ended(folder)
    folder.events.write_text("\n".join(lines) + '\n{"seq":3')
    assert controller.has_ended(folder), "half a line is none"
    folder.events.write_text(lines[0] + "\n")
    assert not controller.has_ended(folder)


def test_account_is_one_provider_for_all_runs(tmp_path, machine: Host):
    shared = Shared.open()
    spec: dict[str, Any] = {"name": "ssh", "hosts": [machine.name]}
    assert shared.provider(spec) is shared.provider(dict(spec))
    assert shared.provider(spec) is not shared.provider({**spec, "hosts": ["somebody@localhost"]})
    assert shared.watch(shared.provider(spec)) is shared.watch(shared.provider(spec))
    with pytest.raises(LorryError):
        shared.provider({"name": "ssh", "hosts": []})
