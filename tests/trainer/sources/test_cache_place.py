"""Where the Hub's cache goes: decided by numbers alone, and set before the Hub's library reads it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lorry.trainer.sources.cache_place import Volume, choose_cache

GB = 10**9


def volume(name: str, free: float, *, device: int = 0, holds: bool = False) -> Volume:
    return Volume(Path(f"/{name}"), int(free * GB), device, holds)


@pytest.mark.parametrize(
    ("others", "chosen"),
    [
        ([], "home"),
        ([volume("workspace", 500, device=1)], "workspace"),
        ([volume("workspace", 500, device=1), volume("mnt", 900, device=2)], "mnt"),
        ([volume("workspace", 5, device=1)], "home"),
        ([volume("workspace", 21, device=1)], "home"),
        ([volume("same-disk", 500)], "home"),
        ([volume("small", 1, device=1, holds=True), volume("mnt", 900, device=2)], "small"),
    ],
)
def test_most_room_wins_unless_the_model_is_somewhere_already(others: list[Volume], chosen: str):
    assert choose_cache(volume("home", 20), others).home == Path(f"/{chosen}")


def test_model_in_the_default_cache_stays_there():
    default = volume("home", 1, holds=True)
    assert choose_cache(default, [volume("workspace", 500, device=1, holds=True)]) == default


PLACE = """
import json, os, sys
from pathlib import Path
import lorry.trainer.sources.cache_place as cache_place
free = json.loads(sys.argv[1])
cache_place._file_systems = lambda: {Path(mount): kind for mount, kind in json.loads(sys.argv[2]).items()}
cache_place._volume = lambda folder, model: cache_place.Volume(folder, free.get(str(folder), 0), hash(folder))
notes = cache_place.place_cache("owner/tiny")
from huggingface_hub import constants
print(json.dumps([notes, constants.HF_HUB_CACHE, constants.HF_TOKEN_PATH]))
"""


def placed(tmp_path: Path, free: dict[str, float], mounts: dict[str, str], **environment: str) -> list:
    names = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    done = subprocess.run(
        [sys.executable, "-c", PLACE, json.dumps(free), json.dumps(mounts)],
        env={**names, "XDG_CACHE_HOME": str(tmp_path), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def test_volume_of_a_rented_machine_gets_the_cache_and_the_login_stays(tmp_path: Path):
    free = {str(tmp_path / "huggingface"): 20 * GB, "/workspace/huggingface": 500 * GB}
    notes, cache, token = placed(tmp_path, free, {"/workspace": "fuse"})
    assert cache == "/workspace/huggingface/hub"
    assert token == str(tmp_path / "huggingface" / "token")
    assert notes == [
        f"models are kept in /workspace/huggingface (500.00 GB free, 20.00 GB at {tmp_path / 'huggingface'}); "
        "set HF_HOME to keep them elsewhere"
    ]


@pytest.mark.parametrize(
    "mounts",
    [{"/mnt/nas": "nfs4"}, {"/mnt/c": "9p"}, {"/data": "cifs"}, {"/media/stick": "ext4"}, {"/mnt/a/b": "ext4"}],
)
def test_networks_drives_and_unknown_places_are_left_alone(mounts: dict[str, str], tmp_path: Path):
    free = {f"{mount}/huggingface": 900 * GB for mount in mounts}
    notes, cache, _ = placed(tmp_path, free, mounts)
    assert notes == []
    assert cache == str(tmp_path / "huggingface" / "hub")


@pytest.mark.parametrize("name", ["HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"])
def test_what_the_person_set_wins(name: str, tmp_path: Path):
    free = {"/workspace/huggingface": 500 * GB}
    notes, cache, _ = placed(tmp_path, free, {"/workspace": "ext4"}, **{name: str(tmp_path / "mine")})
    assert notes == []
    assert cache.startswith(str(tmp_path / "mine"))


def test_library_that_is_in_use_already_is_not_contradicted(monkeypatch: pytest.MonkeyPatch):
    import huggingface_hub  # noqa: F401

    from lorry.trainer.sources.cache_place import place_cache

    monkeypatch.delenv("HF_HOME", raising=False)
    assert place_cache("owner/tiny") == []
    assert "HF_HOME" not in os.environ
