"""What comes home: checkpoints and adapters of one machine, never mixed with those of another."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

import sshd
from lorry.compute.machine import fetching
from lorry.compute.machine.fetching import Source, checkpoint_rules, result_rules
from lorry.compute.outcomes import Outcome, OutcomeError
from lorry.compute.ssh import connect
from lorry.errors import LorryError
from lorry.recipe.schema import TrainSettings
from lorry.track.folder import RunFolder
from lorry.trainer import checkpoint
from small_checkpoints import RUNG, saved

pytestmark = sshd.needed()


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    found = RunFolder(tmp_path / "home" / "run-1")
    found.checkpoints.mkdir(parents=True)
    return found


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    with sshd.machine(tmp_path_factory.mktemp("fetching")) as (server, key):
        server.key = key
        yield server


@pytest.fixture
def there(tmp_path: Path) -> Path:
    (tmp_path / "there" / "checkpoints").mkdir(parents=True)
    return tmp_path / "there"


def with_source(machine, there: Path, body, *, lease: str = "lorry-a", **given):
    async def linked():
        link = await connect(machine.address, machine.key, machine.host_key)
        try:
            async with asyncio.timeout(30):
                return await body(Source(link, str(there), lease, **given))
        finally:
            await link.close()

    return asyncio.run(linked())


def copied(machine, there: Path, folder: RunFolder, step: int = 5, **given) -> bool:
    return with_source(machine, there, lambda at: fetching.copy_checkpoint(at, step, folder), **given)


def test_checkpoint_comes_home_once(machine, there, folder):
    saved(there / "checkpoints", 5)
    assert copied(machine, there, folder)
    assert not copied(machine, there, folder)
    assert not copied(machine, there, folder, step=10)
    assert [path.name for path in folder.checkpoints.iterdir()] == ["step-000005"]


@pytest.mark.parametrize("state", [{"step": 7}, {"rung": {**RUNG, "evil": 1}}, {"rung": {**RUNG, "micro_batch": 0}}])
def test_checkpoint_that_no_trainer_could_go_on_from_is_refused(machine, there, folder, state):
    saved(there / "checkpoints", 5, state)
    with pytest.raises(OutcomeError) as caught:
        copied(machine, there, folder)
    assert caught.value.outcome is Outcome.UNTRUSTED
    assert list(folder.checkpoints.iterdir()) == []


def test_half_a_checkpoint_is_gone_on_with_by_whoever_takes_the_machine_up(machine, there, folder):
    saved(there / "checkpoints", 5)
    half = folder.checkpoints / ".step-000005.lorry-a"
    half.mkdir()
    (half / checkpoint.STATE).write_bytes((there / "checkpoints/step-000005" / checkpoint.STATE).read_bytes())
    before = (half / checkpoint.STATE).stat().st_ino
    assert copied(machine, there, folder)
    assert (checkpoint.path_of(folder.checkpoints, 5) / checkpoint.STATE).stat().st_ino == before


def test_halves_of_other_machines_and_of_dead_processes_are_removed(machine, there, folder):
    saved(there / "checkpoints", 5)
    names = [".step-000005.lorry-b", ".step-000007.4711", ".step-000005.lorry-a.pull-999999999"]
    living = [f".step-000005.lorry-a.pull-{os.getpid()}", ".step-000010.lorry-a"]
    for name in (*names, *living):
        (folder.checkpoints / name).mkdir()
    assert copied(machine, there, folder)
    assert sorted(path.name for path in folder.checkpoints.glob(".*")) == sorted(living)


def test_checkpoint_that_somebody_else_brought_meanwhile_is_there(folder):
    aside = saved(folder.checkpoints, 5).rename(folder.checkpoints / ".step-000005.lorry-a")
    final = saved(folder.checkpoints, 5)
    assert not fetching._settle(aside, final)
    assert not aside.exists()
    checkpoint.verify(final)


def test_disk_that_would_be_full_gets_no_checkpoint_and_trusts_on(machine, there, folder, monkeypatch):
    saved(there / "checkpoints", 5)
    monkeypatch.setattr(fetching, "_LEFT", 1 << 60)
    with pytest.raises(LorryError, match="are left so") as caught:
        copied(machine, there, folder)
    assert not isinstance(caught.value, OutcomeError)


def test_most_that_may_come_follows_from_the_plan(machine, there, folder):
    at = Source(None, "", "a", expected=3 * 10**9)  # type: ignore[arg-type]
    assert checkpoint_rules(at).total == result_rules(at).most("adapter/adapter_model.safetensors") == 12 * 10**9
    assert Source(None, "", "a", expected=5).most == 2 * 10**9  # type: ignore[arg-type]
    assert Source(None, "", "a").most == 400 * 10**9  # type: ignore[arg-type]
    place = saved(there / "checkpoints", 5)
    os.truncate(place / checkpoint.OPTIMIZER, 2 * 10**9 + 1)
    with pytest.raises(OutcomeError, match="are the most"):
        copied(machine, there, folder, expected=5)


def adapter(there: Path, *names: str) -> None:
    (there / "adapter").mkdir(exist_ok=True)
    for name in names:
        (there / "adapter" / name).write_text("{}")


def fetched(machine, there: Path, folder: RunFolder, **given) -> list[str]:
    with_source(machine, there, lambda at: fetching.fetch_result(at, folder, lambda _: None), **given)
    return sorted(path.name for path in folder.adapter.iterdir())


@pytest.mark.parametrize("left", [".fetched", ".fetched.lorry-b", ".fetched.lorry-a"])
def test_what_an_earlier_fetch_left_is_no_part_of_the_adapter(machine, there, folder, left):
    adapter(there, "adapter_config.json")
    (folder.path / left / "adapter" / "sub").mkdir(parents=True)
    (folder.path / left / "adapter" / "sub" / "evil.json").write_text("{}")
    (folder.path / left / "adapter" / "evil.json").write_text("{}")
    assert fetched(machine, there, folder) == ["adapter_config.json"]
    assert list(folder.path.glob(".fetched*")) == []


def test_machine_does_not_write_the_seconds_that_it_has_worked(machine, there, folder):
    adapter(there, "adapter_config.json")
    (there / "heartbeat.json").write_text('{"seconds": 1e12}')
    fetched(machine, there, folder)
    assert not folder.heartbeat.exists()


def test_self_made_step_deletes_nothing(folder):
    for step in (5, 10, 15):
        saved(folder.checkpoints, step)
    fetching.forget(folder, {999}, {5, 10, 15})
    assert checkpoint.steps(folder.checkpoints) == [5, 10, 15]
    saved(folder.checkpoints, 999)
    fetching.forget(folder, {999}, {999})
    assert checkpoint.steps(folder.checkpoints) == [5, 10, 15, 999]


def test_what_a_machine_brought_and_deleted_is_forgotten_once_the_rest_is_home(folder):
    for step in (5, 10, 15):
        saved(folder.checkpoints, step)
    fetching.forget(folder, {15, 20}, {5, 10, 15})
    fetching.forget(folder, set(), {5, 10, 15})
    assert checkpoint.steps(folder.checkpoints) == [5, 10, 15]
    fetching.forget(folder, {10, 15}, {5, 10, 15})
    assert checkpoint.steps(folder.checkpoints) == [10, 15]
    fetching.forget(folder, {10}, {10, 15})
    assert checkpoint.steps(folder.checkpoints) == [10, 15], "one that is newer than all there stays"


def test_in_the_end_what_all_machines_brought_is_kept_by_the_recipes_rule(folder):
    for step in (5, 10, 15, 20, 25):
        saved(folder.checkpoints, step)
    fetching.retain(folder, [10, 15, 20], TrainSettings(keep=1, keep_best=1), {5, 10, 15, 25})
    assert checkpoint.steps(folder.checkpoints) == [5, 10, 20, 25], (
        "the first, the best, the last, and what a person fetched"
    )


def test_what_an_untrusted_machine_brought_is_put_aside(folder):
    for step in (5, 10):
        saved(folder.checkpoints, step)
    fetching.distrust(folder, {10, 15})
    assert checkpoint.steps(folder.checkpoints) == [5]
    assert (folder.checkpoints / "untrusted-step-000010").is_dir()
