"""Copies of checkpoints at places that fsspec knows: whole, once, and no harm where they are refused."""

from __future__ import annotations

import asyncio
import builtins
from pathlib import Path

import pytest

import tiny_runs
from lorry.compute.control import copies
from lorry.compute.control.at_home import RunAtHome
from lorry.compute.control.copies import Elsewhere
from lorry.errors import InputError, LorryError, MissingExtraError
from lorry.recipe.schema import ComputeSettings
from lorry.track.events import Event, read
from lorry.trainer import checkpoint


def folder(path: Path, **files: str) -> Path:
    path.mkdir(parents=True)
    for name, text in {"manifest.json": "{}", **files}.items():
        (path / name).write_text(text)
    return path


def compute(**given: object) -> ComputeSettings:
    return ComputeSettings.model_validate({"on": ["runpod"], **given})


def test_folder_is_put_there_once_with_its_manifest_last(tmp_path: Path):
    place = Elsewhere(f"file://{tmp_path}/bucket", "run-1")
    source = folder(tmp_path / "step-000005", weights="abc")
    assert place.put(source, "checkpoints/step-000005") == 5
    there = tmp_path / "bucket" / "run-1" / "checkpoints" / "step-000005"
    assert (there / "weights").read_text() == "abc"
    assert place.put(source, "checkpoints/step-000005") == 0


def test_folder_that_was_put_half_is_put_again(tmp_path: Path):
    place = Elsewhere(f"file://{tmp_path}/bucket", "run-1")
    source = folder(tmp_path / "step-000005", weights="abc")
    half = tmp_path / "bucket" / "run-1" / "c"
    half.mkdir(parents=True)
    (half / "weights").write_text("a")
    assert place.put(source, "c") == 5
    assert (half / "weights").read_text() == "abc"


@pytest.mark.parametrize("place", ["home", "memory://bucket/folder"])
def test_usable_places_are_taken(place: str):
    copies.refuse_unusable(compute(copies=place))


def test_place_that_was_tried_is_left_as_it_was(tmp_path: Path):
    copies.refuse_unusable(compute(copies=f"file://{tmp_path}/bucket"))
    assert list((tmp_path / "bucket").iterdir()) == []


def test_volume_without_a_volume_is_refused():
    with pytest.raises(InputError, match="there is none"):
        copies.refuse_unusable(compute(copies="volume"))
    copies.refuse_unusable(compute(copies="volume", volume="models"))


@pytest.mark.parametrize("place", ["", "somewhere", "s3:bucket", "C:\\x", "s3://a b", "-://x"])
def test_what_is_no_place_is_refused(place: str):
    with pytest.raises(InputError, match="is no place for copies"):
        copies.refuse_unusable(compute(copies=place))


def test_plugin_that_is_missing_says_what_to_install():
    with pytest.raises(LorryError, match="s3") as caught:
        Elsewhere("s3://bucket", "run-1")
    assert "pip install" in caught.value.hint


def test_fsspec_that_is_missing_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    def refuse(name: str, *_: object) -> object:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(copies, "import_module", refuse)
    with pytest.raises(MissingExtraError, match="fsspec") as caught:
        copies.refuse_unusable(compute(copies="s3://bucket"))
    assert caught.value.exit_code == 2


def test_place_that_refuses_later_is_told_and_harms_nothing(tmp_path: Path):
    (tmp_path / "bucket").write_text("a file where a folder should be")
    values = tiny_runs.recipe(tmp_path, compute={"on": ["runpod"], "copies": f"file://{tmp_path}/bucket"})
    seen: list[Event] = []
    home = RunAtHome(tiny_runs.begin(values).folder, seen.append)
    folder(checkpoint.path_of(home.folder.checkpoints, 5))
    asyncio.run(copies.copy_on(home, 5))
    asyncio.run(copies.copy_all_on(home))
    assert [event.kind for event in seen] == ["warning", "warning"]
    assert "is home, and not copied on: the place for copies does not take them" in seen[0].data["message"]
    (tmp_path / "bucket").unlink()
    asyncio.run(copies.copy_all_on(home))
    told = list(read(home.folder.events))[-1]
    assert (told.kind, told.data["path"], told.data["to"]) == (
        "copied",
        "checkpoints/step-000005",
        f"file://{tmp_path}/bucket",
    )


def test_error_of_a_plugin_shows_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MY_SECRET_KEY", "hush-hush-hush-4711")
    place = Elsewhere(f"file://{tmp_path}/bucket", "run-1")

    def refuse(*_: object, **__: object) -> None:
        raise builtins.PermissionError("denied for hush-hush-hush-4711")

    monkeypatch.setattr(place._system, "makedirs", refuse)
    with pytest.raises(LorryError) as caught:
        place.put(folder(tmp_path / "x"), "x")
    assert "hush-hush" not in str(caught.value)
