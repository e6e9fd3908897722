"""Plugins are files: a kind is a folder, a plugin is a file in it that defines one class, its name is the file's name.

A plugin's class is a pydantic model whose fields are its settings, so that unknown settings are refused in the file that
declares them. Other packages add plugins as entry points in the group `lorry.<kind>`, each naming such a class.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from threading import RLock
from typing import Any, ClassVar, cast

from pydantic import BaseModel, ConfigDict, ValidationError

from lorry.errors import InputError

KINDS: dict[str, str] = {
    "formats": "lorry.data.formats",
    "converters": "lorry.data.converters",
    "checks": "lorry.plan.checks",
    "methods": "lorry.trainer.methods",
    "metrics": "lorry.evaluate.metrics",
    "rewards": "lorry.trainer.rewards",
    "sinks": "lorry.track.sinks",
    "providers": "lorry.compute.providers",
    "importers": "lorry.recipe.importers",
}


_importing = RLock()
"""Checks import plugins from several threads, and pydantic reads docstrings of settings with `ast.parse`, which in
CPython 3.11 raises SystemError when two threads are in it (gh-106905)."""


class Plugin(BaseModel):
    """The base of every plugin: fields are settings, the docstring's first line is its description."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)
    name: ClassVar[str] = ""
    """The file's name; set when the plugin is found."""

    @classmethod
    def summary(cls) -> str:
        """The first line of the docstring, for listings."""
        return (inspect.getdoc(cls) or "").split("\n", 1)[0]


@cache
def names(kind: str) -> tuple[str, ...]:
    """All plugins of a kind, sorted; nothing is imported."""
    spec = find_spec(KINDS[kind])
    folders = [Path(place) for place in (spec.submodule_search_locations or [])] if spec else []
    own = {file.stem for folder in folders for file in folder.glob("*.py") if not file.stem.startswith("_")}
    return tuple(sorted(own | {point.name for point in entry_points(group=f"lorry.{kind}")}))


def find(kind: str, name: str) -> type[Plugin]:
    """The class of one plugin. Raises InputError for an unknown name; a failing import is raised as it is."""
    if name not in names(kind):
        near = get_close_matches(name, names(kind), n=1)
        hint = f"did you mean `{near[0]}`?" if near else f"there are: {', '.join(names(kind))}"
        raise InputError(f"no {kind.removesuffix('s')} is called `{name}`", hint=hint)
    with _importing:
        return _imported(kind, name)


def _imported(kind: str, name: str) -> type[Plugin]:
    for point in entry_points(group=f"lorry.{kind}", name=name):
        return _named(cast("type[Plugin]", point.load()), name)
    module = importlib.import_module(f"{KINDS[kind]}.{name}")
    own = [value for value in vars(module).values() if _is_plugin_of(value, module.__name__)]
    if len(own) != 1:
        raise TypeError(f"{module.__file__} must define exactly one plugin class, and defines {len(own)}")
    return _named(own[0], name)


def make(kind: str, spec: str | Mapping[str, Any]) -> Plugin:
    """A plugin with its settings, from `name` or `{name: ..., setting: ...}`.

    Raises InputError for an unknown name, an unknown setting or a wrong value.
    """
    settings = {"name": spec} if isinstance(spec, str) else dict(spec)
    name = settings.pop("name", None)
    if not isinstance(name, str):
        raise InputError(f"a {kind.removesuffix('s')} needs a `name`", hint=f"one of: {', '.join(names(kind))}")
    plugin = find(kind, name)
    try:
        return plugin(**settings)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join([name, *(str(part) for part in first["loc"])])
        known = ", ".join(plugin.model_fields) or "none"
        raise InputError(f"{place}: {first['msg']}", hint=f"settings of `{name}`: {known}") from error


def _is_plugin_of(value: object, module: str) -> bool:
    return (
        inspect.isclass(value)
        and issubclass(value, Plugin)
        and value.__module__ == module
        and not value.__name__.startswith("_")
    )


def _named(plugin: type[Plugin], name: str) -> type[Plugin]:
    plugin.name = name
    return plugin
