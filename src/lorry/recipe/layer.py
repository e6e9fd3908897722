"""What one source of a recipe says, and where; layers are merged, the later over the earlier."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

Keys = tuple[str | int, ...]
"""A place in a recipe: `("train", "learning_rate")`, `("evaluate", "metrics", 0)`."""

PLUGIN_KEYS: frozenset[Keys] = frozenset({("method",), ("data", "format")})
"""Where a plugin is chosen: naming another one drops the settings of the one before."""


@dataclass
class Layer:
    """Values as nested dictionaries, and for each key the `file:line` or flag that gave it."""

    values: dict[str, Any] = field(default_factory=dict[str, Any])
    places: dict[Keys, str] = field(default_factory=dict[Keys, str])
    warnings: list[str] = field(default_factory=list[str])
    imported: list[Any] = field(default_factory=list[Any])
    """What was read from configurations of other systems, `importing.Imported` each."""

    def place(self, keys: Keys) -> str:
        """Where a key was given; for a key that was not, the nearest that holds it; empty when nothing does."""
        while keys and keys not in self.places:
            keys = keys[:-1]
        return self.places.get(keys, "")


def merge(under: Layer, over: Layer) -> Layer:
    """Both layers as one: mappings are merged, everything else is replaced, and each replaced value is said."""
    warnings, imported = [*under.warnings, *over.warnings], [*under.imported, *over.imported]
    merged = Layer(dict(under.values), dict(under.places), warnings, imported)
    _lay(merged, over, over.values, ())
    return merged


def put(values: dict[str, Any], keys: Keys, value: Any) -> None:
    """Sets a nested value; mappings on the way are made."""
    for key in keys[:-1]:
        values = values.setdefault(str(key), {})
    values[str(keys[-1])] = value


def get(values: Mapping[str, Any], keys: Keys) -> Any:
    """A nested value; None where there is none."""
    here: Any = values
    for key in keys:
        if isinstance(here, Mapping) and key in here:
            here = cast("Mapping[Any, Any]", here)[key]
        elif isinstance(here, list) and isinstance(key, int) and key < len(cast("list[Any]", here)):
            here = cast("list[Any]", here)[key]
        else:
            return None
    return here


def show(value: Any, limit: int = 60) -> str:
    """A value as a recipe would write it, short enough for a message."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = "{…}" if isinstance(value, dict) and len(str(cast("Any", value))) > limit else str(value)
    text = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def home_of(path: Path) -> str:
    """A file as messages name it: relative to the current folder when it lies in it."""
    whole = path.absolute()
    return str(whole.relative_to(Path.cwd()) if whole.is_relative_to(Path.cwd()) else path)


def _lay(merged: Layer, over: Layer, values: dict[str, Any], at: Keys) -> None:
    target = get(merged.values, at) if at else merged.values
    for key, value in values.items():
        keys = (*at, key)
        old = target.get(key)
        if isinstance(value, dict) and isinstance(old, dict) and not _another_plugin(keys, old, value):
            target[key] = dict(cast("dict[str, Any]", old))
            merged.places[keys] = over.places.get(keys, merged.places.get(keys, ""))
            _lay(merged, over, cast("dict[str, Any]", value), keys)
            continue
        if key in target and old != value:
            # These warnings are written down, and an address of alerts may hold a key until it has been checked.
            new, was = ("new", "those") if keys[0] == "track" else (show(value), show(old))
            merged.warnings.append(
                f"{over.place(keys)}: {_dotted(keys)} = {new} overrides {was} of {merged.place(keys)}"
            )
        _forget(merged.places, keys)
        merged.places |= {place: text for place, text in over.places.items() if place[: len(keys)] == keys}
        target[key] = value


def _another_plugin(keys: Keys, old: dict[str, Any], new: dict[str, Any]) -> bool:
    return keys in PLUGIN_KEYS and "name" in new and new["name"] != old.get("name")


def _forget(places: dict[Keys, str], keys: Keys) -> None:
    for place in [place for place in places if place[: len(keys)] == keys]:
        del places[place]


def _dotted(keys: Keys) -> str:
    return ".".join(str(key) for key in keys)
