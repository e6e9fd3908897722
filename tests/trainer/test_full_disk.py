"""A disk that is full: a clear end, the last good checkpoint intact, and a run that goes on when there is room again."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from havoc import start, started_again, wait_for_event
from lorry.errors import RunFailedError
from lorry.recipe.schema import Recipe
from lorry.track.folder import home, write_json
from lorry.trainer.checkpoint import steps, verify
from lorry.trainer.supervise.journal import Journal
from lorry.trainer.supervise.vitals import Vitals
from tiny_runs import begin, events_of, recipe, train_here

SIZE = 12_000_000


@pytest.fixture
def small_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file system of some megabytes, with lorry's home in it."""
    place = tmp_path / "disk"
    place.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(place)]
    mounted = subprocess.run(words, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"mounting a small file system needs root: {mounted.stderr.strip()}")
    monkeypatch.setenv("LORRY_HOME", str(place))
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk: Path, *, leave: int) -> Path:
    """Leaves only so many bytes free."""
    others = disk / "somebody-elses-file"
    with others.open("wb", buffering=0) as file, suppress(OSError):
        while shutil.disk_usage(disk).free > leave:
            file.write(b"x" * 4096)
    return others


def test_disk_that_fills_up_ends_the_run_clearly_and_it_goes_on_when_there_is_room(tmp_path, small_disk):
    # Each checkpoint takes about half a megabyte, so the fourth or so finds no room.
    train = {"steps": 12, "save_every": 1, "eval_every": 12, "keep": 50}
    run = begin(recipe(tmp_path, lora={"rank": 64}, train=train))
    assert home() == small_disk
    facts = json.loads(run.folder.resolved.read_text())
    write_json(run.folder.resolved, {**facts, "promised": {}})  # else the disk is found too small at the start
    others = fill(small_disk, leave=2_000_000)
    assert start(run).wait(timeout=120) == 1
    failed = events_of(run, "failed")[0].data
    assert "cannot be written" in failed["error"]
    assert "free some space" in failed["hint"]
    kept = steps(run.folder.checkpoints)
    assert kept
    for step in kept:
        verify(run.folder.checkpoints / f"step-{step:06d}")
    assert not list(run.folder.checkpoints.glob(".step-*"))
    others.unlink()
    for step in kept[:-1]:
        subprocess.run(["rm", "-r", str(run.folder.checkpoints / f"step-{step:06d}")], check=True)
    facts = (
        run.folder.resolved.read_text().replace('"keep": 50', '"keep": 1').replace('"keep_best": 5', '"keep_best": 0')
    )
    run.folder.resolved.write_text(facts)
    assert started_again(run).wait(timeout=120) == 0
    assert events_of(run, "resumed")[-1].data["from_step"] == kept[-1]
    assert events_of(run, "finished")


def test_disk_without_any_room_still_gets_the_last_words(tmp_path, small_disk):
    # A checkpoint of half a megabyte: a small one would fit into the room that the journal keeps for last words, which
    # is free again when a step happens to be told between the filling and the signal.
    train = {"steps": 100_000, "save_every": 100_000, "eval_every": 100_000}
    run = begin(recipe(tmp_path, lora={"rank": 64}, train=train))
    process = start(run)
    try:
        wait_for_event(run.folder, process, lambda event: event.kind == "step" and event.step >= 20)
        fill(small_disk, leave=0)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 130
    finally:
        process.kill()
    stopped = events_of(run, "stopped")[0].data["reason"]
    assert "could not be saved" in stopped
    assert "there is no checkpoint" in stopped


def test_little_room_is_told_while_there_is_still_time(tmp_path, small_disk):
    values, now = recipe(tmp_path), [0.0]
    run = begin(values)
    vitals = Vitals(run.folder, Recipe.model_validate(values), Journal(run.folder.events, 1), clock=lambda: now[0])
    now[0] = 61.0
    vitals.tick()
    assert any("disk is full but for" in event.data["message"] for event in events_of(run, "warning"))


def test_signal_saves_once_there_is_room_although_the_save_before_failed(tmp_path, small_disk, monkeypatch):
    from lorry.trainer.saving.saver import Saver

    found: dict[str, object] = {}
    plain = Saver.save

    def save(self: Saver) -> None:
        others = fill(small_disk, leave=0)
        with suppress(RunFailedError):
            plain(self)
            self.drain()
        found["failed"] = self._failure
        others.unlink()
        monkeypatch.setattr(Saver, "save", plain)
        found["saved"] = self.save_now()
        self._is_leaving = False

    monkeypatch.setattr(Saver, "save", save)
    run = train_here(recipe(tmp_path, train={"steps": 2, "save_every": 1}))
    assert isinstance(found["failed"], RunFailedError)
    assert found["saved"] == run.folder.checkpoints / "step-000001"
