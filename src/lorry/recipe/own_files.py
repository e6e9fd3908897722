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
from lorry.recipe.layer import Keys, get
from lorry.recipe.rewards import file_and_function

if TYPE_CHECKING:
    from lorry.recipe.schema import Recipe
    from lorry.trainer.rewards._base import Reward

ADAPTER: Keys = ("model", "adapter")
"""The adapter that training goes on from."""
_REWARDS: Keys = ("method", "rewards")


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
    if _is_path(template) and template != "chatml":
        yield OwnFile(("data", "chat_template"), str(template), "chat_template.jinja")
    if _is_path(adapter):
        yield OwnFile(ADAPTER, str(adapter), "adapter", is_run=True)
    rewards = get(values, _REWARDS)
    for number, one in enumerate(cast("list[Any]", rewards) if isinstance(rewards, list) else []):
        yield from _of_reward(one, number)


def dotted(keys: Keys) -> str:
    """A place as messages name it: `method.rewards[0].adapter`."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).removeprefix(".")


def of_recipe(recipe: Recipe) -> list[OwnFile]:
    """All such places of a recipe that was checked."""
    return list(own_files(recipe.model_dump(include={"data", "model", "method"})))


def renamed(recipe: Recipe, name: Callable[[OwnFile], str]) -> Recipe:
    """The recipe with another path in each of these places."""
    values: dict[str, Any] = {"data": {}, "model": {}, "method": deepcopy(recipe.method)}
    for one in of_recipe(recipe):
        put_path(values, one, name(one))
    changed = {section: getattr(recipe, section).model_copy(update=values[section]) for section in ("data", "model")}
    return recipe.model_copy(update={**changed, "method": values["method"]})


def put_path(values: dict[str, Any], one: OwnFile, path: str) -> None:
    """Writes another path into a place, in place."""
    get(values, one.keys[:-1])[one.keys[-1]] = path + one.behind


def _of_reward(given: Any, number: int) -> Iterator[OwnFile]:
    """The files and models that one reward names."""
    keys: Keys = (*_REWARDS, number)
    if isinstance(given, str):
        named = file_and_function(given)
        if named is not None:
            yield OwnFile(keys, named[0], _kept_name(named[0], number), f":{named[1]}")
        return
    reward = _plugin(given)
    if reward is None:
        return
    for setting in (*reward.files, *reward.models):
        value = get(given, (setting,))
        if _is_path(value):
            name = _kept_name(str(value), number)
            is_model, is_run = setting in reward.models, setting in reward.runs
            yield OwnFile((*keys, setting), str(value), name, is_model=is_model, is_run=is_run)


def _plugin(given: Any) -> type[Reward] | None:
    """The class of a reward; None for what the recipe's own check refuses."""
    name = get(given, ("name",)) if isinstance(given, Mapping) else None
    try:
        return cast("type[Reward]", plugins.find("rewards", name)) if isinstance(name, str) else None
    except InputError:
        return None


def _kept_name(path: str, number: int) -> str:
    """Each reward's files lie apart, under the name that they have: Python imports by it."""
    return f"rewards/{number}/{Path(path).name or 'file'}"


def _is_path(value: Any) -> bool:
    return isinstance(value, str | PurePath) and bool(str(value))
