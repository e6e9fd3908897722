"""An attempt on a real SSH server with the real agent: what breaks, and what is home in the end."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

import borrowed
import sshd
from borrowed import Controller, Host, carry_out, numbers_of, steps_of
from lorry.compute.control.at_home import ask
from lorry.compute.outcomes import Outcome
from lorry.compute.recovery import FRUITLESS, Action, decide
from lorry.track.events import Event
from lorry.track.run import Run
from lorry.trainer import checkpoint

pytestmark = sshd.needed()


@pytest.fixture
def machine(tmp_path: Path):
    with borrowed.host(tmp_path) as found:
        yield found


def when(step: int, act: Any) -> Any:
    """Does something once, when a step is shown."""
    done: list[int] = []

    def watch(event: Event) -> None:
        if event.kind == "step" and (event.step or 0) >= step and not done:
            done.append(step)
            act()

    return watch


def test_run_trains_there_and_everything_comes_home(tmp_path, machine):
    run = borrowed.begin(tmp_path, machine)
    result = carry_out(Controller(run))
    assert result.outcome is Outcome.FINISHED
    assert steps_of(run) == list(range(1, 31))
    assert numbers_of(run) == list(range(1, len(numbers_of(run)) + 1))
    assert checkpoint.steps(run.folder.checkpoints)[-1] == 30
    assert (run.adapter / "adapter_model.safetensors").read_bytes().endswith((30).to_bytes(8, "little"))
    assert (run.folder.checkpoints / "final").resolve().name == "step-000030"


def test_connection_that_is_cut_loses_and_repeats_nothing(tmp_path, machine: Host):
    run = borrowed.begin(tmp_path, machine, steps=60)
    controller = Controller(run)
    controller.watch = when(10, machine.server.cut)
    assert carry_out(controller).outcome is Outcome.FINISHED
    assert steps_of(run) == list(range(1, 61))
    assert {event.attempt for event in run.events()} == {1}, "the trainer has noticed nothing"


@pytest.mark.parametrize("kind", ["ready", "loaded", "started"])
def test_stop_is_heard_however_short_the_agent_has_been_there(tmp_path, machine: Host, kind):
    run = borrowed.begin(tmp_path, machine, steps=100_000)
    controller = Controller(run)
    controller.watch = lambda event: ask(run.folder, "stop") if event.kind == kind else None
    began = time.monotonic()
    assert carry_out(controller).outcome is Outcome.STOPPED_BY_PERSON
    assert time.monotonic() - began < 30


def test_stop_is_heard_by_an_agent_that_is_started_again(tmp_path, machine: Host):
    run = borrowed.begin(tmp_path, machine, steps=100_000)

    def kill_and_stop() -> None:
        machine.agent().kill()
        ask(run.folder, "stop")

    controller = Controller(run)
    controller.watch = when(8, kill_and_stop)
    assert carry_out(controller).outcome is Outcome.STOPPED_BY_PERSON


def test_controller_that_dies_is_replaced_where_it_stood(tmp_path, machine: Host):
    run = borrowed.begin(tmp_path, machine, steps=60)

    async def dies() -> None:
        controller = Controller(run)
        attempt = await controller.attempt()
        work = asyncio.create_task(attempt.carry_out())
        controller.watch = when(10, work.cancel)
        await asyncio.gather(work, return_exceptions=True)
        await attempt.close()

    asyncio.run(dies())
    assert machine.agent().is_running()
    assert carry_out(Controller(run)).outcome is Outcome.FINISHED
    assert steps_of(run) == list(range(1, 61))
    assert len([event for event in run.events() if event.kind == "sent"]) == 1, "nothing is sent twice"


def test_agent_that_is_killed_is_started_again_from_the_last_checkpoint(tmp_path, machine: Host):
    run = borrowed.begin(tmp_path, machine, steps=60)
    controller = Controller(run)
    controller.watch = when(12, lambda: machine.agent().send_signal(signal.SIGKILL))
    assert carry_out(controller).outcome is Outcome.FINISHED
    starts = [event.data["from_step"] for event in run.events() if event.kind == "started"]
    assert starts[0] == 0
    assert starts[-1] >= 10
    assert steps_of(run)[-1] == 60


def test_stop_saves_first_and_brings_the_checkpoint_home(tmp_path, machine: Host):
    run = borrowed.begin(tmp_path, machine, steps=10_000, every=1000)
    controller = Controller(run)
    controller.watch = when(10, lambda: ask(run.folder, "stop"))
    result = carry_out(controller)
    assert result.outcome is Outcome.STOPPED_BY_PERSON
    saved = checkpoint.steps(run.folder.checkpoints)
    assert saved[-1] == steps_of(run)[-1] >= 10


def test_stop_now_waits_for_nothing(tmp_path, machine: Host):
    run = borrowed.begin(tmp_path, machine, steps=10_000, every=1000)
    controller = Controller(run)
    controller.watch = when(10, lambda: ask(run.folder, "now"))
    result = carry_out(controller)
    assert (result.outcome, result.event) == (Outcome.STOPPED_BY_PERSON, None)


def test_machine_that_tells_of_money_is_not_believed(tmp_path, machine: Host):
    run = borrowed.begin(tmp_path, machine, steps=10_000)

    def lie() -> None:
        path = machine.folder / "lorry" / "runs" / run.id / "events.jsonl"
        machine.agent().suspend()
        for child in machine.agent().children(recursive=True):
            child.suspend()
        last = json.loads(path.read_text().splitlines()[-1])
        told = {"lease": "x", "seconds": 0, "usd": 0}
        with path.open("a") as file:
            file.write(
                json.dumps({**last, "seq": last["seq"] + 1, "kind": "returned", "step": None, "data": told}) + "\n"
            )

    controller = Controller(run)
    controller.watch = when(10, lie)
    assert carry_out(controller, fetch=False).outcome is Outcome.UNTRUSTED
    assert not [event for event in run.events() if event.kind == "returned"]


def test_what_befell_the_machines_before_counts(tmp_path, machine: Host):
    run = borrowed.begin(tmp_path, machine, steps=10_000)
    controller = Controller(run)
    told = {"message": "it lied", "action": "on another machine"}

    async def both() -> list[Action]:
        attempt = await controller.attempt()
        first = decide(Outcome.UNTRUSTED, attempt._history(Outcome.UNTRUSTED))
        controller.home.tell("lost", lease="a", outcome=Outcome.UNTRUSTED.name, **told)
        second = decide(Outcome.UNTRUSTED, (await controller.attempt())._history(Outcome.UNTRUSTED))
        for number in range(FRUITLESS):
            controller.home.tell("rented", lease=str(number), machine="m", provider="runpod", usd_per_hour=1.0)
        spent = decide(Outcome.NEVER_READY, (await controller.attempt())._history(Outcome.NEVER_READY))
        return [first, second, spent]

    assert asyncio.run(both()) == [Action.NEXT_ATTEMPT, Action.END_RUN, Action.END_RUN]


def test_token_reaches_the_trainer_and_no_command_line(tmp_path, machine: Host, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_notARealTokenAtAll1234567890")
    monkeypatch.setenv("RUNPOD_API_KEY", "rpa_notARealKeyAtAll1234567890")
    run = borrowed.begin(tmp_path, machine, steps=200)
    seen: list[tuple[str, dict[str, str]]] = []

    def look() -> None:
        seen.extend((" ".join(one.cmdline()), one.environ()) for one in machine.processes())

    controller = Controller(run)
    controller.watch = when(5, look)
    assert carry_out(controller).outcome is Outcome.FINISHED
    assert seen
    assert not any("hf_not" in words for words, _ in seen)
    assert any(environment.get("HF_TOKEN", "").startswith("hf_not") for _, environment in seen)
    assert not any("RUNPOD_API_KEY" in environment for _, environment in seen)
    files = [path for path in machine.folder.rglob("*") if path.is_file()]
    assert not any(b"hf_notAReal" in path.read_bytes() for path in files)


def test_host_that_is_gone_is_given_up_after_its_time(tmp_path, machine: Host):
    run = borrowed.begin(tmp_path, machine, steps=10_000)
    controller = Controller(run, patience=borrowed.Patience(ready=20, silence=3, pause=0.3, tick=0.1))
    controller.watch = when(10, machine.server.stop)
    assert carry_out(controller, fetch=False).outcome is Outcome.HOST_LOST


def suspend(machine: Host) -> None:
    """Has the machine go on no further, and tell no more than it has."""
    for one in [machine.agent(), *machine.agent().children(recursive=True)]:
        one.suspend()


def lie(machine: Host, run: Run, **changes: Any) -> None:
    """Has the machine tell one more event, which is its last one with changes."""
    suspend(machine)
    path = machine.folder / "lorry" / "runs" / run.id / "events.jsonl"
    last = json.loads(path.read_text().splitlines()[-1])
    with path.open("a") as file:
        file.write(json.dumps({**last, "seq": last["seq"] + 1, **changes}) + "\n")


@pytest.mark.parametrize("changes", [{"attempt": 1_000_000}, {"kind": "evaluated", "step": 31, "data": {"loss": 1.0}}])
def test_number_that_would_be_held_against_the_next_machine_is_not_believed(tmp_path, machine: Host, changes):
    run = borrowed.begin(tmp_path, machine)
    controller = Controller(run)
    controller.watch = when(10, lambda: lie(machine, run, **changes))
    assert carry_out(controller, fetch=False).outcome is Outcome.UNTRUSTED
    assert controller.home.known.attempt == 1
    assert 10 <= controller.home.step <= 30


def test_seconds_that_a_machine_makes_up_are_not_kept(tmp_path, machine: Host):
    run = borrowed.begin(tmp_path, machine, steps=10_000)
    controller = Controller(run)

    def boast() -> None:
        suspend(machine)
        beat = machine.folder / "lorry" / "runs" / run.id / "heartbeat.json"
        beat.write_text(json.dumps({**json.loads(beat.read_text()), "seconds": 1e8}))

    controller.watch = when(10, boast)

    async def work() -> None:
        attempt = await controller.attempt()
        task = asyncio.create_task(attempt.carry_out())
        async with asyncio.timeout(30):
            while controller.home.seconds_before < 50:
                await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await attempt.close()

    asyncio.run(work())
    assert 50 < controller.home.seconds_before < 200


async def lost(controller: Controller, until: Any) -> None:
    """One attempt whose machine is lost as soon as something is so."""
    attempt = await controller.attempt()
    task = asyncio.create_task(attempt.carry_out())
    async with asyncio.timeout(30):
        while not until() and not task.done():
            await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await attempt.close()
    attempt.lease.write(state="ended", ended_at=time.time())


def made(machine: Host, run: Run) -> set[int]:
    """Steps of the checkpoints on the machine."""
    return set(checkpoint.steps(machine.folder / "lorry" / "runs" / run.id / "checkpoints"))


def test_best_checkpoint_outlives_its_machine_and_is_delivered_as_without_a_loss(tmp_path):
    with borrowed.host(tmp_path, best=5, pace=0.1) as machine:
        run = borrowed.begin(tmp_path, machine, steps=60)
        controller, there = Controller(run), set[int]()

        def freeze() -> None:
            suspend(machine)
            there.update(made(machine, run))

        controller.watch = when(22, freeze)
        asyncio.run(lost(controller, lambda: there and there <= set(checkpoint.steps(run.folder.checkpoints))))
        machine.kill()
        for name in ("lorry", ".lorry"):
            shutil.rmtree(machine.folder / name)
        assert 5 in there
        assert carry_out(Controller(run)).outcome is Outcome.FINISHED
    assert [event.data["from_step"] for event in run.events() if event.kind == "resumed"] == [max(there)]
    assert (run.adapter / "adapter_model.safetensors").read_bytes().endswith((5).to_bytes(8, "little"))
    assert (run.folder.checkpoints / "best").resolve().name == "step-000005"


def test_checkpoint_that_is_only_listed_keeps_none_from_coming_and_deletes_none(tmp_path, machine: Host):
    run = borrowed.begin(tmp_path, machine, steps=900)
    controller, there = Controller(run), set[int]()

    def pretend() -> None:
        suspend(machine)
        there.update(made(machine, run))
        for name in ("step-000899", "step-000999"):
            (machine.folder / "lorry" / "runs" / run.id / "checkpoints" / name / "manifest.json").mkdir(parents=True)

    controller.watch = when(17, pretend)
    asyncio.run(lost(controller, lambda: there and there <= set(checkpoint.steps(run.folder.checkpoints))))
    assert len(there) == 3
