"""Rented runs that go on after their end, on volumes and elsewhere, and what is said where an end is not confirmed."""

from __future__ import annotations

import pytest

import borrowed
import sshd
import tiny_runs
from hired import Person
from lorry import job
from lorry.cli import faults
from lorry.cli.outcome import View
from lorry.cli.watching import follow_rented
from lorry.compute.control import controller
from lorry.compute.control.attempt import Patience
from lorry.compute.control.controller import Settings
from lorry.emulators.launch import Emulator
from lorry.errors import MayBillError
from lorry.job import Watcher
from lorry.track.run import Run
from lorry.trainer import checkpoint

pytestmark = [sshd.needed(), pytest.mark.slow]
LONG = {"steps": 10_000, "every": 1000}


def froms(person: Person) -> list[int]:
    return [event.data["from_step"] for event in person.events() if event.kind == "started"]


def stopped(person: Person, **sections: object) -> int:
    """A run that was stopped on a machine; its step."""
    first = person.begin("run", person.recipe(**LONG, **sections), "--yes")
    person.until_step(3)
    assert person.lorry("stop").returncode == 0
    first.wait(30)
    return checkpoint.steps(person.run().checkpoints)[-1]


def test_stopped_run_rents_again_and_goes_on_where_it_was(person: Person):
    step = stopped(person)
    asked = person.lorry("resume")
    assert asked.returncode == 3
    assert "runpod community, RTX 4090 at $0.34 an hour" in asked.stderr
    assert person.events()[-1].kind == "stopped", "nothing is written before somebody agrees"
    shorter = person.lorry("resume", "--yes", "-o", f"train.steps={step}")
    assert shorter.returncode == 3, "a run cannot be made shorter"
    first = person.begin("resume", "--yes")
    person.until(lambda _: froms(person) == [0, step])
    refused = person.lorry("resume", "--yes")
    assert refused.returncode == 3
    assert "is running" in refused.stderr
    first.kill()
    first.wait()
    refused = person.lorry("resume", "--yes")
    assert refused.returncode == 3
    assert "lorry attach" in refused.stderr
    assert person.lorry("stop", "--now").returncode == 0
    assert [len(person.lorry("ps", "--status", status).stdout.splitlines()) for status in ("stopped", "detached")] == [
        2,
        0,
    ]


def test_rented_run_does_not_go_on_here_and_one_from_here_is_not_rented(person: Person, monkeypatch):
    stopped(person)
    done = person.lorry("resume", "--yes", "-o", "compute.on=local")
    assert done.returncode == 3
    assert "the run began on rented machines, and cannot go on here" in done.stderr


def test_run_of_the_same_recipe_is_offered_first(person: Person):
    stopped(person)
    terminal = person.terminal("run", person.recipe(**LONG))
    terminal.until("is a run of this recipe that was stopped at step")
    terminal.until("go on with it")
    terminal.type("yes\n")
    terminal.until("RTX 4090 at .0.34 an hour")
    terminal.type("no\n")
    assert terminal.wait() == 0
    assert "nothing was rented" in terminal.text


def test_interrupted_run_goes_on_from_the_volume_and_only_the_newest_checkpoint_comes_home(
    person: Person, emulated: Emulator
):
    assert person.lorry("volume", "create", "models", "--place", "EU-RO-1", "--gb", "20", "--yes").returncode == 0
    compute = {"volume": "models", "copies": "volume"}
    first = person.begin("run", person.recipe(steps=150, compute=compute), "--yes")
    person.until_step(12)
    assert emulated.control.arm("host_gone", machine="*") == 1
    assert first.wait(60) == 0, person.said(first)
    assert len(froms(person)) == 2
    assert froms(person)[1] >= 10
    assert checkpoint.steps(person.run().checkpoints) == [150]
    assert person.lorry("volume", "delete", "models", "--yes").returncode == 0


def test_copies_go_on_to_a_place_of_ones_own(person: Person):
    place = person.folder / "bucket"
    done = person.lorry("run", person.recipe(compute={"copies": f"file://{place}"}), "--yes")
    assert done.returncode == 0, done.stderr
    there = place / person.run().id
    assert (there / "adapter" / "adapter_model.safetensors").is_file()
    assert checkpoint.steps(there / "checkpoints") == checkpoint.steps(person.run().checkpoints)
    checkpoint.verify(checkpoint.path_of(there / "checkpoints", 20))


def test_end_that_is_not_confirmed_is_said_first_and_exits_with_4(
    person: Person, emulated: Emulator, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    for name, value in emulated.variables.items():
        monkeypatch.setenv(name, value)
    emulated.control.arm("status", on="delete", status=403, times=5)
    compute = {"on": ["runpod"], "gpu": ["RTX 4090"]}
    run = tiny_runs.begin(tiny_runs.recipe(person.folder, compute=compute, train={"steps": 5}))
    patience = Settings(patience=Patience(pause=0.3, tick=0.1, ending=1.0))

    def act(watch: Watcher) -> Run:
        ending = controller.train(run.folder, watch, settings=patience)
        job.settle(run.folder)
        job.raise_unless_well(run, ending)
        return run

    with pytest.raises(MayBillError) as caught:
        follow_rented(act, View(), run.folder)
    machine = next(event.data["machine"] for event in run.events() if event.kind == "rented")
    told = capsys.readouterr().err
    assert f"a machine may still bill: {machine}" in told
    assert told.index("a machine may still bill") < told.index("receipt of")
    assert faults.say(caught.value, debug=False) == 4
    said = capsys.readouterr().err
    assert said.startswith(f"error: the machine `{machine}` at runpod may still bill $0.34 an hour")
    assert "lorry reap" in said
    assert "not confirmed to have ended" in person.lorry("show").stdout
    reaped = person.lorry("reap", "--yes")
    assert reaped.returncode == 0, reaped.stderr


def test_host_of_ones_own_needs_no_word_and_is_free_again_after(person: Person):
    with borrowed.host(person.folder) as machine:
        recipe = person.recipe(compute={"on": [f"ssh:{machine.name}"], "gpu": ["cpu"]})
        for _ in range(2):
            done = person.lorry("run", recipe)
            assert done.returncode == 0, done.stderr
        assert f"ssh:{machine.name}" in person.lorry("ps").stdout
        assert person.lorry("ssh", "last", "--", "true").returncode == 2, "it is no machine of a run any more"
