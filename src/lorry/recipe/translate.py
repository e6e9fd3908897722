"""Turns a Python recipe's `config` into a layer, whatever names it uses: lorry's, or those of `foreign_names`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from pathlib import PurePath
from typing import Any, NamedTuple, cast

import attrs
from pydantic import BaseModel

from lorry.errors import RecipeError
from lorry.recipe.foreign_names import GROUPS, IN_SECTION, ONLY, STRONGER, TARGETS, UNSET, UNUSED, Target
from lorry.recipe.layer import Keys, Layer, put, show
from lorry.recipe.problems import Problem, refuse, section_of, unknown_name
from lorry.recipe.schema import Recipe

_DICTIONARIES = {"data.template_args", "data.format", "method"}
_NOT_FLAT = {"id", "rows", "samples", "usd", "hours", "batch_size", "train", "eval", "test", "name"}
"""Settings whose names say too little outside their section."""


class Entry(NamedTuple):
    """One setting as it was found: its own name, where it goes in a recipe, and the value for there."""

    name: str
    path: str
    value: Any


def translate(config: Any, place: Callable[[str], str], file: str) -> Layer:
    """The layer that `config` stands for; `place` gives the `file:line` of a name.

    Raises RecipeError, for all names at once, where a name means nothing to lorry or two contradict each other.
    """
    if isinstance(config, Recipe):
        given = config.model_dump(exclude_unset=True)
        return Layer(given, {(key,): place(key) for key in given})
    if not _is_group(config):
        hint = "make it a Recipe, a dictionary, or a dataclass or attrs object"
        raise RecipeError(f"`config` is of type {type(config).__name__}", place=place("config"), hint=hint)
    found = _Found(place)
    found.walk(config, None)
    entries = _without_weaker(found.entries, found.layer, place)
    found.problems += _contradictions(entries, place)
    refuse(found.problems, file)
    for entry in sorted(entries, key=lambda entry: (entry.path.count("."), "trust_remote_code" in entry.path)):
        _put(found.layer, entry, place(entry.name))
    return found.layer


class _Found:
    """What a configuration holds, gathered while walking through its parts."""

    def __init__(self, place: Callable[[str], str]) -> None:
        self.layer = Layer()
        self.entries: list[Entry] = []
        self.problems: list[Problem] = []
        self._place = place

    def walk(self, group: Any, section: str | None) -> None:
        """Reads one part; `section` is lorry's name for it, empty for an unknown one, None for the whole."""
        private = set(cast("tuple[str, ...]", getattr(group, "_private", ())))
        for name, value in _items(group):
            if not name.startswith("_") and name not in private:
                self._take(name, _plain(value), section)

    def _take(self, name: str, value: Any, section: str | None) -> None:
        target = _target(name, value, section)
        if target is not None:
            self._keep(name, target, value)
        elif _is_group(value):
            inner = name if section is None and section_of(Recipe, name) else GROUPS.get(name, section or "")
            self.walk(value, inner)
        elif value is None and _section_called(name) == "lora":
            self.entries.append(Entry(name, "lora", None))
        elif name in ONLY:
            self._only(name, value)
        elif name in UNUSED:
            self.layer.warnings.append(f"{self._place(name)}: `{name}` has no effect: {UNUSED[name]}")
        elif not (value is None and _section_called(name)):
            siblings = [*TARGETS, *_flat_names(), *Recipe.model_fields]
            self.problems.append(Problem(f"{self._place(name)}: {name}", "unknown name", _probably(name, siblings)))

    def _keep(self, name: str, target: Target, value: Any) -> None:
        converted = UNSET if value is None else target.convert(value)
        if name in {"lr_scheduler_type", "lr_scheduler"} and value == "constant":
            self.entries.append(Entry(name, "train.warmup", 0))  # Transformers' `constant` has no warm-up
        if name == "trust_remote_code" and not isinstance(value, str):
            converted = UNSET if not value else True
        if converted is not UNSET:
            self.entries.append(Entry(name, target.path, converted))

    def _only(self, name: str, value: Any) -> None:
        if value not in ONLY[name]:
            accepted = " or ".join(f"`{show(one)}`" for one in ONLY[name])
            hint = "remove it, or start its name with `_` to keep it from lorry"
            message = f"lorry has no such setting, and does as with {accepted}; this is `{show(value)}`"
            self.problems.append(Problem(f"{self._place(name)}: {name}", message, hint))


def _target(name: str, value: Any, section: str | None) -> Target | None:
    """Where a name's value goes; None for a part that holds further names, and for an unknown name."""
    if section is None and name in Recipe.model_fields and not section_of(Recipe, name):
        return Target(name)
    if section is None and name == "extends":
        return Target(name)
    target = _in_section(name, section) or TARGETS.get(name) or _flat_names().get(name) or _whole_section(name, value)
    if target is not None and _is_group(value) and target.path not in _DICTIONARIES:
        return None
    return target


def _in_section(name: str, section: str | None) -> Target | None:
    model = section_of(Recipe, section) if section else None
    if model is not None and name in model.model_fields:
        return Target(f"{section}.{name}")
    return IN_SECTION.get(section or "", {}).get(name)


def _whole_section(name: str, value: Any) -> Target | None:
    """A section's name with a plain value: `model: "Qwen/..."`, `train: "rows.jsonl"`."""
    if isinstance(value, (str, list)):
        paths = {"model": "model.id", "data": "data.train", "train": "data.train", "eval": "data.eval"}
        return Target(paths[name]) if name in paths else None
    return None


def _flat_names() -> dict[str, Target]:
    sections = {name: section_of(Recipe, name) for name in Recipe.model_fields}
    return {
        name: Target(f"{section}.{name}")
        for section, model in sections.items()
        for name in (model.model_fields if model else ())
        if name not in _NOT_FLAT
    }


def _section_called(name: str) -> str:
    return name if section_of(Recipe, name) else GROUPS.get(name, "")


def _probably(name: str, siblings: list[str]) -> str:
    hint = unknown_name(name, siblings)
    return hint if hint.startswith("did you mean") else "remove it, or start its name with `_` to keep it from lorry"


def _without_weaker(entries: list[Entry], layer: Layer, place: Callable[[str], str]) -> list[Entry]:
    """Drops what another setting makes void, and says so."""
    kept: list[Entry] = []
    for entry in entries:
        winner = next((other for other in entries if _voids(other, entry)), None)
        if winner is None:
            kept.append(entry)
        elif winner.value != entry.value:
            void = f"{entry.name} = {show(entry.value)} of {place(entry.name)}"
            layer.warnings.append(f"{place(winner.name)}: {winner.name} overrides {void}")
    return kept


def _voids(winner: Entry, entry: Entry) -> bool:
    if STRONGER.get(winner.name) == entry.name:
        return True
    if winner.path == "lora" and winner.value is None and entry.path.startswith("lora."):
        return True
    return winner.path == entry.path == "train.warmup" and "scheduler" in winner.name and "scheduler" not in entry.name


def _contradictions(entries: list[Entry], place: Callable[[str], str]) -> Iterator[Problem]:
    seen: dict[str, Entry] = {}
    for entry in entries:
        other = seen.setdefault(entry.path, entry)
        if other.value != entry.value:
            message = f"says {show(entry.value)}, and `{other.name}` of {place(other.name)} says {show(other.value)}"
            yield Problem(f"{place(entry.name)}: {entry.name}", message, f"both mean `{entry.path}`: keep one")


def _put(layer: Layer, entry: Entry, place: str) -> None:
    keys: Keys = tuple(entry.path.split("."))
    value = entry.value
    if entry.path == "model.trust_remote_code" and value is True:
        value = cast("dict[str, Any]", layer.values.get("model", {})).get("id", value)
    if entry.path in {"method", "data.format"} and isinstance(value, str):
        value = {"name": value}
    put(layer.values, keys, value)
    for depth in range(1, len(keys) + 1):
        layer.places.setdefault(keys[:depth], place)


def _items(group: Any) -> Iterator[tuple[str, Any]]:
    """Names and values of a dictionary, a dataclass, an attrs class or a pydantic model, without private fields."""
    if isinstance(group, type):
        group = group()
    if isinstance(group, Mapping):
        yield from ((str(name), value) for name, value in cast("Mapping[Any, Any]", group).items())
    elif isinstance(group, BaseModel):
        yield from ((name, getattr(group, name)) for name in type(group).model_fields)
    else:
        fields: Any = attrs.fields(type(group)) if attrs.has(type(group)) else dataclasses.fields(group)
        yield from ((field.name, getattr(group, field.name)) for field in fields if not field.metadata.get("private"))


def _is_group(value: Any) -> bool:
    kind = value if isinstance(value, type) else type(value)
    if attrs.has(kind) or dataclasses.is_dataclass(kind) or issubclass(kind, BaseModel):
        return True
    return isinstance(value, Mapping)


def _plain(value: Any) -> Any:
    """A value as YAML could have given it."""
    if isinstance(value, Enum):
        return _plain(value.value)
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in cast("list[Any]", value)]
    if isinstance(value, (set, frozenset)):
        return sorted((_plain(item) for item in cast("set[Any]", value)), key=str)
    if type(value).__module__ == "numpy" and hasattr(value, "item"):
        return value.item()
    return value
