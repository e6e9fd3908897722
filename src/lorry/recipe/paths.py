"""Files that a recipe names: relative to the recipe that names them, whole once it is loaded."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorry.recipe.layer import Keys, get, put
from lorry.recipe.own_files import OwnFile, own_files, put_path

if TYPE_CHECKING:
    from lorry.recipe.schema import Recipe

_PATHS: tuple[Keys, ...] = (("data", "train"), ("data", "eval"), ("data", "test"))
_MODELS: tuple[Keys, ...] = (("model", "id"), ("model", "trust_remote_code"))
_ELSEWHERE = re.compile(r"hub:|[a-z][a-z0-9+.-]+://")


def make_absolute(values: dict[str, Any], bases: Sequence[Path]) -> None:
    """Makes the paths in `values` whole, in place.

    A relative path starts from the first of `bases` where it exists, and from the last if it exists in none.
    """

    def whole(value: Any) -> Any:
        if isinstance(value, list):
            return [whole(item) for item in value]
        is_source = isinstance(value, dict) and "path" in value
        return {**value, "path": _whole(value["path"], bases)} if is_source else _whole(value, bases)

    for keys in _PATHS:
        _change(values, keys, whole)
    for one in list(own_files(values)):
        if not _is_name(one, bases):
            put_path(values, one, whole(one.path))
    for keys in _MODELS:
        _change(values, keys, lambda value: whole(value) if _is_local(value, bases) else value)


def is_run_name(value: Any, bases: Sequence[Path]) -> bool:
    """Whether a setting that holds an adapter names a run: one word, and no folder in any of `bases` has that name."""
    is_word = isinstance(value, str) and value[:1] not in ("", ".", "~") and not {"/", "\\"} & set(value)
    return is_word and not Path(value).is_absolute() and not any(_is_folder(base / value) for base in bases)


def _is_name(one: OwnFile, bases: Sequence[Path]) -> bool:
    """Whether a place holds no path, but the name of a run, or of a model on the Hub."""
    if one.is_run:
        return is_run_name(one.path, bases)
    return one.is_model and not _is_local(one.path, bases)


def in_clone(named: str, base: Path, recipe: Recipe) -> str:
    """The name below the clone of `compute.code` of a file that is not here; empty for one that is, and without a clone."""
    path = Path(base, from_home(named))
    is_cloned = recipe.compute.code is not None and not recipe.compute.is_here
    if not is_cloned or exists(path) or not path.is_relative_to(base):
        return ""
    return path.relative_to(base).as_posix()


def exists(path: Path) -> bool:
    """Whether there is such a file or folder; False for a name that no file can have."""
    try:
        return path.exists()
    except (OSError, ValueError):  # a name too long, or one that the platform does not allow
        return False


def from_home(value: str) -> Path:
    """The path, with `~` as the home folder it stands for; as it is where there is no such home."""
    try:
        return Path(value).expanduser()
    except RuntimeError:  # no home, or no such person
        return Path(value)


def _change(values: dict[str, Any], keys: Keys, change: Callable[[Any], Any]) -> None:
    old = get(values, keys)
    if old is not None:
        put(values, keys, change(old))


def _whole(value: Any, bases: Sequence[Path]) -> Any:
    value = str(value) if isinstance(value, Path) else value
    if not isinstance(value, str) or not value or _ELSEWHERE.match(value):
        return value
    path = from_home(value)
    candidates = [base / path for base in bases]
    chosen = next((candidate for candidate in candidates if exists(candidate)), candidates[-1])
    return os.path.normpath(chosen.absolute())


def _is_local(model: Any, bases: Sequence[Path]) -> bool:
    """Whether a model's id is a path: it looks like one, or a folder beside the recipe has that name."""
    if not isinstance(model, str) or not model or model.startswith("pypi:"):
        return False
    looks = model[0] in "./~" or model.lower().endswith(".gguf") or Path(model).is_absolute()
    return looks or any(_is_folder(base / model) for base in bases)


def _is_folder(path: Path) -> bool:
    return exists(path) and path.is_dir()
