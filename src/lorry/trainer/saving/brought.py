"""What a run reads besides rows and base model, as fingerprints: the adapter that it continues, files and models of rewards.

A checkpoint keeps them, so that a run which goes on with others says so. They are of contents alone: names of folders and
times are others on each machine. Of a large file its length and blocks all over it are read: any training changes every one
of them, and a model of many gigabytes is told apart in milliseconds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lorry.errors import LorryError
from lorry.recipe.own_files import OwnFile, of_recipe
from lorry.recipe.paths import exists, from_home
from lorry.recipe.rewards import neighbours
from lorry.recipe.schema import ModelSettings, Recipe
from lorry.trainer.sources.locate import locate

_WHOLE = 64 << 20
"""Bytes up to which a file is read from end to end."""
_BLOCKS, _BLOCK = 64, 1 << 16
_TEMPLATE = ("data", "chat_template")
"""What it renders is told by the hashes of rows."""


def fingerprints(recipe: Recipe, base: Path) -> dict[str, str]:
    """By the place in the recipe, such as `method.rewards[0].adapter`; what is not there, or cannot be read, is left out."""
    read = ((one.place, _fingerprint(one, base)) for one in of_recipe(recipe) if one.keys != _TEMPLATE)
    return {place: digest for place, digest in read if digest}


def changed(before: Mapping[str, Any], now: Mapping[str, str]) -> list[str]:
    """What is to be said of what has changed, by a checkpoint's fingerprints and those of now."""
    places = [place for place, digest in now.items() if place in before and before[place] != digest]
    told = "has changed since the checkpoint was made: this run goes on with it as it is now"
    return [f"what `{place}` names {told}" for place in places]


def _fingerprint(one: OwnFile, base: Path) -> str:
    """Of a file, with what it imports from beside it, or of a folder; empty where there is none."""
    path = Path(base, from_home(one.path))
    digest = hashlib.sha256()
    try:
        if not exists(path) and one.is_model:
            path = locate(ModelSettings(id=one.path), base).folder
        for name, file in _files(path):
            digest.update(f"{name}\n{_of_file(file)}\n".encode())
    except (OSError, LorryError):
        return ""
    return digest.hexdigest()


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    """The files that count, with names that do not tell where they lie. A card is rewritten with every report."""
    if path.is_dir():
        files = [file for file in sorted(path.iterdir()) if file.is_file() and file.suffix != ".md"]
        yield from ((file.name, file) for file in files)
        return
    yield "", path
    for beside in sorted(neighbours(path)) if path.suffix == ".py" else ():
        yield beside.relative_to(path.parent).as_posix(), beside


def _of_file(file: Path) -> str:
    size = file.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with file.open("rb") as opened:
        if size <= _WHOLE:
            while block := opened.read(1 << 20):
                digest.update(block)
            return digest.hexdigest()
        for number in range(_BLOCKS):
            opened.seek((size - _BLOCK) * number // (_BLOCKS - 1))
            digest.update(opened.read(_BLOCK))
    return digest.hexdigest()
