"""Watching a rented run: Ctrl-C in a terminal, another terminal, a controller that is killed; on an emulated RunPod."""

from __future__ import annotations

import os
import signal

import pytest

import sshd
from hired import Person, background
from lorry.track.events import Event
from lorry.track.leases import Leases

pytestmark = [sshd.needed(), pytest.mark.slow]


LONG = {"steps": 10_000, "every": 1000}
"""A run that goes on until it is stopped, however slow the computer is."""


def goes_on_and_can_be_stopped(person: Person) -> None:
    person.until_step(max(steps(person.events())) + 20)
    done = person.lorry("stop", "--now")
    assert done.returncode == 0, done.stderr
    told = steps(person.events())
    assert told == list(range(1, len(told) + 1))
    assert kinds(person.events()).count("rented") == 1


def kinds(events: list[Event]) -> list[str]:
    return [event.kind for event in events]


def steps(events: list[Event]) -> list[int]:
    return [event.step or 0 for event in events if event.kind == "step"]


def test_run_trains_there_comes_home_and_shows_its_receipt(person: Person):
    done = person.lorry("run", person.recipe(), "--yes")
    assert done.returncode == 0, done.stderr
    told = done.stderr
    assert "runpod community, RTX 4090 at $0.34 an hour" in told
    assert f"receipt of {person.run().id}" in told
    assert "the machine has ended, confirmed at" in told
    assert steps(person.events()) == list(range(1, 21))
    (loaded,) = [event for event in person.events() if event.kind == "loaded"]
    assert loaded.data["parameters"] == 8, "a scripted trainer, not a real one"
    told = person.lorry("show").stdout
    assert "Trained on" in told
    assert "runpod community, RTX 4090 at $0.34 an hour" in told
    assert "the machine is confirmed to have ended" in told
    assert "## Receipt" in person.lorry("report").stdout


def test_ctrl_c_asks_and_detach_leaves_the_run_to_the_background(person: Person):
    terminal = person.terminal("run", person.recipe(**LONG), "--yes")
    person.until_step(3)
    terminal.interrupt()
    terminal.until("the machine works on; detach, stop after a checkpoint, or end it now")
    terminal.type("detach\n")
    terminal.until("the run goes on without this terminal; `lorry attach")
    assert terminal.wait() == 0
    goes_on_and_can_be_stopped(person)


def test_second_ctrl_c_detaches(person: Person):
    terminal = person.terminal("run", person.recipe(**LONG), "--yes")
    person.until_step(3)
    terminal.interrupt()
    terminal.until("go on")
    terminal.interrupt()
    terminal.until("the run goes on without this terminal")
    assert terminal.wait() == 0
    goes_on_and_can_be_stopped(person)


def test_ctrl_c_and_stop_saves_first_and_gives_the_machine_back(person: Person):
    terminal = person.terminal("run", person.recipe(**LONG), "--yes")
    person.until_step(3)
    terminal.interrupt()
    terminal.until("go on")
    terminal.type("stop\n")
    assert terminal.wait() == 130
    assert "the machine has ended, confirmed at" in terminal.text
    assert "lorry resume" in terminal.text
    last = person.events()[-1]
    assert (last.kind, last.data["cause"]) == ("stopped", "person")
    assert any(person.run().checkpoints.glob("step-*/manifest.json"))


def test_ctrl_c_and_now_waits_for_no_checkpoint(person: Person):
    terminal = person.terminal("run", person.recipe(**LONG), "--yes")
    person.until_step(3)
    terminal.interrupt()
    terminal.until("go on")
    terminal.type("what?\nnow\n")
    assert terminal.wait() == 130
    assert "`what?` is none of them" in terminal.text
    assert "stopped at once" in person.events()[-1].data["reason"]


def test_ctrl_c_and_go_on_goes_on_where_it_was(person: Person):
    terminal = person.terminal("run", person.recipe(steps=60), "--yes")
    person.until_step(3)
    terminal.interrupt()
    terminal.until("go on")
    terminal.type("\n")
    assert terminal.wait() == 0
    assert steps(person.events()) == list(range(1, 61))
    assert kinds(person.events()).count("rented") == 1


def test_detach_from_another_terminal_frees_the_first(person: Person):
    first = person.begin("run", person.recipe(**LONG), "--yes")
    person.until_step(3)
    done = person.lorry("detach")
    assert done.returncode == 0
    assert first.wait(60) == 0
    assert "goes on without this terminal" in person.said(first)
    goes_on_and_can_be_stopped(person)


def test_detach_of_a_run_in_the_background_changes_nothing(person: Person):
    first = person.begin("run", person.recipe(**LONG), "--yes")
    person.until_step(3)
    person.lorry("detach")
    first.wait(60)
    assert person.lorry("detach").returncode == 0
    assert not (person.run().path / "request.json").exists()
    goes_on_and_can_be_stopped(person)


def test_killed_controller_leaves_a_detached_run_that_attach_takes_up(person: Person):
    first = person.begin("run", person.recipe(steps=150), "--yes")
    person.until_step(5)
    first.kill()
    first.wait()
    listed = person.lorry("ps").stdout
    assert "detached" in listed
    assert "runpod, RTX 4090" in listed
    assert "`lorry attach" in person.lorry("show").stderr
    done = person.lorry("attach")
    assert done.returncode == 0, done.stderr
    assert steps(person.events()) == list(range(1, 151))
    assert kinds(person.events()).count("rented") == 1
    assert "finished" in person.lorry("ps").stdout


def test_attached_onlooker_takes_over_when_the_controller_is_killed(person: Person):
    first = person.begin("run", person.recipe(steps=150), "--yes")
    person.until_step(5)
    second = person.begin("attach")
    person.until_step(15)
    first.kill()
    first.wait()
    assert second.wait(60) == 0, person.said(second)
    assert "the machine has ended, confirmed at" in person.said(second)
    assert steps(person.events()) == list(range(1, 151))


def test_followed_logs_outlive_the_controller(person: Person):
    first = person.begin("run", person.recipe(steps=120), "--yes")
    person.until_step(3)
    logs, watching = person.begin("logs", "-f"), person.begin("watch")
    person.until_step(10)
    first.kill()
    first.wait()
    person.until_step(10)
    assert logs.poll() is None
    assert watching.poll() is None
    assert person.lorry("attach").returncode == 0
    assert logs.wait(60) == 0
    assert watching.wait(60) == 0
    assert "finished after" in person.said(logs)
    assert "receipt of" in person.said(watching)


def test_stop_from_another_terminal_waits_until_the_machine_is_given_back(person: Person):
    first = person.begin("run", person.recipe(**LONG), "--yes")
    person.until_step(3)
    done = person.lorry("stop")
    assert done.returncode == 0, done.stderr
    assert "the machine has ended, confirmed at" in done.stderr
    assert first.wait(60) == 130
    assert person.lorry("stop").returncode == 2
    assert person.lorry("attach").returncode == 2


def test_stop_now_of_a_run_that_nobody_controls(person: Person):
    first = person.begin("run", person.recipe(**LONG), "--yes")
    person.until_step(3)
    first.kill()
    first.wait()
    done = person.lorry("stop", "--now")
    assert done.returncode == 0, done.stderr
    assert "stopped at once" in done.stderr


def test_one_controller_takes_up_every_run_that_nobody_controls(person: Person):
    recipe = person.recipe(steps=150)
    runs = [person.begin("run", recipe, "--yes"), person.begin("run", recipe, "--yes")]
    leases = Leases.open(person.home / "lorry.db")
    person.until(lambda _: [row.ready_at is not None for row in leases.since()] == [True, True])
    for one in runs:
        one.kill()
        one.wait()
    done = person.lorry("controller", "--until-idle")
    assert done.returncode == 0, done.stderr
    assert person.lorry("ps").stdout.count("finished") == 2
    assert done.stderr.count(": finished") == 2
    assert background(person.home) == []


def test_pull_and_ssh_reach_the_machine_of_a_run_that_goes_on(person: Person):
    first = person.begin("run", person.recipe(steps=10_000, every=5), "--yes")
    person.until_step(12)
    assert person.lorry("ssh", "last", "--", "sh", "-c", "echo there; exit 7").returncode == 7
    assert person.lorry("ssh", "last", "--", "printf", "%s", "a b").stdout == "a b"
    done = person.lorry("pull", "last", "--to", "so-far")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "so-far"
    assert (person.folder / "so-far" / "adapter_model.safetensors").is_file()
    assert person.lorry("pull", "last", "--to", "so-far").returncode == 2
    every = person.lorry("pull", "last", "--checkpoints").stdout.split()
    assert len(every) >= 2
    assert person.lorry("stop", "--now").returncode == 0
    first.wait(60)
    assert person.lorry("ssh", "last", "--", "true").returncode == 2
    assert person.lorry("pull", "last", "--to", "at-last").returncode == 0


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_terminal_that_is_closed_leaves_the_run_to_the_background(person: Person, number: signal.Signals):
    terminal = person.terminal("run", person.recipe(**LONG), "--yes")
    person.until_step(3)
    os.kill(terminal.process.pid, number)
    assert terminal.wait() == 128 + number
    goes_on_and_can_be_stopped(person)
