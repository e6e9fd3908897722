"""The places in a recipe that name a file or folder of the person's own, besides its rows and its model.

Paths in them start from the recipe's folder, and what they name travels to a machine that is rented.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, cast

from lorry import plugins
from lorry.errors import InputError
from lorry.recipe.chat_template import is_file
from lorry.recipe.layer import Keys, get
from lorry.recipe.rewards import file_and_function

if TYPE_CHECKING:
    from lorry.evaluate.metrics._base import Metric
    from lorry.recipe.schema import Recipe
    from lorry.trainer.rewards._base import Reward

ADAPTER: Keys = ("model", "adapter")
"""The adapter that training goes on from."""
_PLUGINS: dict[Keys, str] = {("method", "rewards"): "rewards", ("evaluate", "metrics"): "metrics"}
"""Lists of plugins that may name files, and of which kind."""


@dataclass(frozen=True)
class OwnFile:
    """One place, and what it names."""

    keys: Keys
    path: str
    otherwise: str
    """The name under which it is kept with a run, where it does not lie below the recipe's folder."""
    behind: str = ""
    """What stands behind the path in the setting: `:FUNCTION`."""
    is_model: bool = False
    """Whether it may as well be a model's id on the Hub."""
    is_run: bool = False
    """Whether it may as well name a run: its adapter is meant then."""

    @property
    def place(self) -> str:
        """As messages name it."""
        return dotted(self.keys)


def own_files(values: Mapping[str, Any]) -> Iterator[OwnFile]:
    """All such places in a recipe's values, short forms and unchecked values among them; what is no text is passed over."""
    template, adapter = get(values, ("data", "chat_template")), get(values, ("model", "adapter"))
    if _is_path(template) and is_file(str(template)):
        yield OwnFile(("data", "chat_template"), str(template), "chat_template.jinja")
    if _is_path(adapter):
        yield OwnFile(ADAPTER, str(adapter), "adapter", is_run=True)
    for keys, kind in _PLUGINS.items():
        named = get(values, keys)
        for number, one in enumerate(cast("list[Any]", named) if isinstance(named, list) else []):
            yield from _of_plugin(kind, one, (*keys, number))


def dotted(keys: Keys) -> str:
    """A place as messages name it: `method.rewards[0].adapter`."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).removeprefix(".")


def of_recipe(recipe: Recipe) -> list[OwnFile]:
    """All such places of a recipe that was checked."""
    return list(own_files(recipe.model_dump(include={"data", "model", "method", "evaluate"})))


def renamed(recipe: Recipe, name: Callable[[OwnFile], str]) -> Recipe:
    """The recipe with another path in each of these places."""
    values: dict[str, Any] = {"data": {}, "model": {}, "method": deepcopy(recipe.method)}
    values["evaluate"] = {"metrics": deepcopy(recipe.evaluate.metrics)}
    for one in of_recipe(recipe):
        put_path(values, one, name(one))
    sections = ("data", "model", "evaluate")
    changed = {section: getattr(recipe, section).model_copy(update=values[section]) for section in sections}
    return recipe.model_copy(update={**changed, "method": values["method"]})


def put_path(values: dict[str, Any], one: OwnFile, path: str) -> None:
    """Writes another path into a place, in place."""
    get(values, one.keys[:-1])[one.keys[-1]] = path + one.behind


def _of_plugin(kind: str, given: Any, keys: Keys) -> Iterator[OwnFile]:
    """The files, models and runs that one reward or metric names."""
    if isinstance(given, str) and len(keys) == 3:
        named = file_and_function(given)
        if named is not None:
            yield OwnFile(keys, named[0], _kept_name(keys, named[0]), f":{named[1]}")
        return
    if not isinstance(given, Mapping):
        return
    settings = cast("Mapping[str, Any]", given)
    if settings.get("name") == "metric":
        yield from _of_plugin("metrics", settings.get("metric"), (*keys, "metric"))
    plugin = _class(kind, settings.get("name"))
    if plugin is None:
        return
    models: tuple[str, ...] = getattr(plugin, "models", ())
    runs: tuple[str, ...] = getattr(plugin, "runs", ())
    for setting in (*plugin.files, *models):
        value = settings.get(setting)
        if _is_path(value):
            name, is_model, is_run = _kept_name(keys, str(value)), setting in models, setting in runs
            yield OwnFile((*keys, setting), str(value), name, is_model=is_model, is_run=is_run)


def _class(kind: str, name: Any) -> type[Reward] | type[Metric] | None:
    """The class of a plugin; None for what the recipe's own check refuses."""
    try:
        return cast("type[Reward] | type[Metric]", plugins.find(kind, name)) if isinstance(name, str) else None
    except InputError:
        return None


def _kept_name(keys: Keys, path: str) -> str:
    """The files of each place lie apart, under the name that they have: Python imports by it."""
    return f"{'/'.join(map(str, keys[1:]))}/{Path(path).name or 'file'}"


def _is_path(value: Any) -> bool:
    return isinstance(value, str | PurePath) and bool(str(value))
