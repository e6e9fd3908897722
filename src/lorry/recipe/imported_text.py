"""An imported configuration as a recipe's text: with comments on where settings come from, and on what was left out."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any, cast

from lorry import plugins
from lorry.recipe.importers._base import Importer
from lorry.recipe.importers._sheet import Fate, Field
from lorry.recipe.importing import Imported, can
from lorry.recipe.layer import get, put, show
from lorry.recipe.own_files import own_files, put_path
from lorry.recipe.problems import section_of
from lorry.recipe.schema import Recipe
from lorry.recipe.yaml_file import dump

_WIDTH = 110


def written(imported: Imported, folder: Path | None = None) -> str:
    """The recipe; paths are seen from `folder`, or whole without one."""
    values = _placed(deepcopy(imported.layer.values), folder)
    sections = [name for name in Recipe.model_fields if name in values]
    body = [line for name in sections for line in _section(name, values[name], imported)]
    return "\n".join([*_head(imported), *body]) + "\n"


def lines(imported: Imported) -> Iterator[str]:
    """What became of each field, a line each, in the order of the file."""
    width = max((len(one.fate) for one in imported.fields), default=0)
    for one in imported.fields:
        yield f"{one.fate:<{width}}  {told(one, imported)}"


def told(one: Field, imported: Imported) -> str:
    """One field in words: what it was, and what it became or why it did not."""
    given = f"{one.name}: {one.value}"
    if one.fate is Fate.TRANSLATED:
        became = ", ".join(_became(one, imported))
        return f"{given} -> {became or 'as here'}" + (f" ({one.why})" if one.why else "")
    who = can(one, cast("type[Importer]", plugins.find("importers", imported.system)))
    return f"{given} ({one.why}{f'; {who}' if who else ''})"


def summary(imported: Imported) -> str:
    """How many fields became what, in a sentence."""
    counts = [(fate, len(imported.of(fate))) for fate in Fate]
    parts = ", ".join(f"{number} {fate}" for fate, number in counts if number)
    return f"{imported.file} is read as {imported.title}'s: {len(imported.fields)} fields, {parts}"


def _became(one: Field, imported: Imported) -> Iterator[str]:
    """The settings that a field made, or the parts of the recipe that it is found in."""
    own = [path for path, names in imported.sources.items() if one.name in names]
    for path in own or one.to:
        value = get(imported.layer.values, tuple(path.split(".")))
        yield path if isinstance(value, (dict, list)) or path not in own else f"{path}: {show(value)}"


def _head(imported: Imported) -> Iterator[str]:
    yield f"# From {imported.title}'s configuration {Path(imported.file).name}, by lorry."
    groups = {
        "Fields that mean nothing here:": imported.of(Fate.NO_EFFECT),
        "Fields that lorry's own trainer cannot do:": imported.of(Fate.NOT_NATIVE),
        "Fields that are not known:": imported.of(Fate.UNKNOWN),
    }
    for title, fields in groups.items():
        if fields:
            yield f"# {title}"
        for one in fields:
            mark = "LEFT OUT, though it matters: " if one.matters else ""
            yield from _comment(f"{mark}{told(one, imported)}")


def _comment(text: str) -> Iterator[str]:
    yield from textwrap.wrap(
        text, _WIDTH, initial_indent="#   ", subsequent_indent="#     ", break_long_words=False, break_on_hyphens=False
    )


def _section(name: str, value: Any, imported: Imported) -> Iterator[str]:
    if not isinstance(value, dict) or not value:
        yield from _lines_of({name: value}, imported.sources.get(name, ()), "")
        return
    yield f"{name}:"
    held = cast("dict[str, Any]", value)
    section = section_of(Recipe, name)
    order = [key for key in (section.model_fields if section else ()) if key in held]
    for key in [*order, *(key for key in held if key not in order)]:
        below = held[key]
        path = f"{name}.{key}"
        names = (
            imported.sources.get(path)
            or _below(path, imported)
            or (imported.sources.get(name, ()) if key == "name" else ())
        )
        yield from _lines_of({key: below}, names, "  ", imported)


def _below(path: str, imported: Imported) -> tuple[str, ...]:
    names = [name for made, given in imported.sources.items() if made.startswith(f"{path}.") for name in given]
    return tuple(dict.fromkeys(names))


def _lines_of(
    entry: dict[str, Any], names: tuple[str, ...], indent: str, imported: Imported | None = None
) -> Iterator[str]:
    text = dump(entry).rstrip("\n").split("\n")
    origin = ", ".join(dict.fromkeys(names))
    if not origin and imported is not None:
        origin = f"as {imported.title} does by itself"
    if len(text) == 1 and len(text[0]) + len(origin) < _WIDTH:
        yield f"{indent}{text[0]}" + (f"  # {origin}" if origin else "")
        return
    if origin:
        yield f"{indent}# {origin}"
    yield from (f"{indent}{line}" if line else "" for line in text)


# --- paths


def _placed(values: dict[str, Any], folder: Path | None) -> dict[str, Any]:
    """The values with paths as a recipe in `folder` writes them."""
    if folder is None:
        return values
    for split in ("train", "eval", "test"):
        keys = ("data", split)
        if (given := get(values, keys)) is not None:
            put(values, keys, _seen(given, folder))
    for one in list(own_files(values)):
        put_path(values, one, _seen(one.path, folder))
    model = get(values, ("model", "id"))
    if isinstance(model, str) and Path(model).is_absolute():
        seen = _seen(model, folder)
        put(values, ("model", "id"), seen)
        if get(values, ("model", "trust_remote_code")) is not None:
            put(values, ("model", "trust_remote_code"), seen)
    return values


def _seen(value: Any, folder: Path) -> Any:
    """A path below the folder or the current one as seen from the folder; any other stays."""
    if isinstance(value, list):
        return [_seen(one, folder) for one in cast("list[Any]", value)]
    if isinstance(value, dict):
        return {**value, "path": _seen(cast("dict[str, Any]", value)["path"], folder)}
    if not isinstance(value, str) or not Path(value).is_absolute():
        return value
    whole = folder.absolute()
    if not any(Path(value).is_relative_to(place) for place in (whole, Path.cwd())):
        return value
    seen = Path(os.path.relpath(value, whole)).as_posix()
    return seen if seen.startswith(".") else f"./{seen}"
