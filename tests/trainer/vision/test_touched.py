"""Runs on images that go on after image files were touched, replaced, or fetched anew into a cleared cache."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from lorry import resuming
from lorry.errors import InputError
from lorry.track.run import Run
from lorry.track.store import Store
from tiny_runs import begin, events_of
from tiny_vision import picture, vision_recipe


@pytest.fixture
def stopped(tmp_path: Path) -> Run:
    run = begin(vision_recipe(tmp_path, "llava"))
    Store.open().update(run.id, status="stopped", pid=None, step=0, steps=8)
    return run


def rows_of(run: Run) -> Path:
    return Path(json.loads(run.folder.resolved.read_text())["data_folder"])


def rewrite(folder: Path, **changed: bytes) -> None:
    for file in folder.glob("*.png"):
        file.write_bytes(changed.get(file.stem, file.read_bytes()))


def go_on(run: Run) -> list[str]:
    """What is said of changed rows."""
    resuming.make_ready(resuming.Continuation(run.id))
    return [told for event in events_of(run, "note") if "has changed" in (told := event.data["message"])]


def test_touched_images_are_the_rows_that_the_run_began_with(tmp_path, stopped):
    rewrite(tmp_path / "images")
    assert go_on(stopped) == []
    shutil.rmtree(rows_of(stopped))
    assert go_on(stopped) == []
    assert rows_of(stopped).is_dir()


def test_other_images_are_told_and_refused_once_the_first_are_gone(tmp_path, stopped):
    name = next((tmp_path / "images").glob("*.png")).stem
    rewrite(tmp_path / "images", **{name: picture(77)})
    assert len(go_on(stopped)) == 1
    shutil.rmtree(rows_of(stopped))
    with pytest.raises(InputError, match="not those that the run began with"):
        go_on(stopped)
