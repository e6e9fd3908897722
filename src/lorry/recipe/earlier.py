"""An adapter that a recipe continues or is judged by: a folder, what a run delivered, or what an earlier recipe will make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from lorry.errors import InputError
from lorry.recipe.layer import Keys
from lorry.recipe.load import Loaded
from lorry.recipe.name import experiment_name
from lorry.recipe.own_files import ADAPTER, of_recipe, renamed
from lorry.recipe.paths import from_home, is_run_name
from lorry.recipe.schema import Recipe

PLACE = "model.adapter"


@dataclass(frozen=True)
class Earlier:
    """What `model.adapter` means, or a reward that names an adapter."""

    named: str
    """As the recipe says it."""
    folder: Path | None
    """Where the adapter lies; None for one that is yet to be made."""
    run: str = ""
    """The id of the run that delivered it; empty for a folder, and before there is one."""
    maker: Recipe | None = None
    """The recipe that will make it."""

    def as_json(self) -> dict[str, Any]:
        """As a run's folder keeps it."""
        return {"named": self.named, "run": self.run, "adapter": str(self.folder)}


@dataclass(frozen=True)
class Linked:
    """One of several recipes that take turns."""

    loaded: Loaded
    makers: Mapping[Keys, int]
    """By the place that names an adapter, the one among them that makes it; empty where it needs none of theirs."""


def find(named: str, base: Path, place: str = PLACE) -> Earlier:
    """What a recipe in the folder `base` means. Raises InputError where a name means no run with an adapter."""
    if not is_run_name(named, [base]):
        return Earlier(named, base / from_home(named))
    from lorry.track.delivered import delivered

    try:
        run = delivered(named)
    except InputError as error:
        raise InputError(error.message, hint=error.hint, place=place) from error
    return Earlier(named, run.adapter, run.id)


def find_judges(recipe: Recipe, base: Path, to_come: Mapping[Keys, Earlier]) -> dict[Keys, Earlier]:
    """The adapters that judge answers, by the place that names each; some are known. Raises InputError as `find` does."""
    named = [one for one in of_recipe(recipe) if one.is_run and one.keys != ADAPTER]
    return {one.keys: to_come.get(one.keys) or find(one.path, base, one.place) for one in named}


def linked(every: Sequence[Loaded]) -> list[Linked]:
    """Recipes that take turns, each knowing what it needs: `last`, or the name of an experiment, of those before it."""
    found: list[Linked] = []
    for number, loaded in enumerate(every):
        named = [one for one in of_recipe(loaded.recipe) if one.is_run and is_run_name(one.path, [loaded.base])]
        makers = {one.keys: (one.path, _maker(one.path, every[:number])) for one in named}
        known = {keys: (path, maker) for keys, (path, maker) in makers.items() if maker is not None}
        to_come = {keys: Earlier(path, None, maker=every[maker].recipe) for keys, (path, maker) in known.items()}
        found.append(Linked(replace(loaded, to_come=to_come), {keys: maker for keys, (_, maker) in known.items()}))
    return found


def as_continued(recipe: Recipe, kept: Recipe, facts: Mapping[str, Any]) -> Recipe:
    """A recipe that is held against the one of a run, with the adapters that its names meant when the run began.

    `facts` are what the run's folder says.
    """
    meant = {tuple(one.get("keys", ADAPTER)): one.get("named") for one in _told(facts)}
    before = {one.keys: one.path for one in of_recipe(kept)}
    return renamed(
        recipe,
        lambda one: before[one.keys] if one.keys in before and meant.get(one.keys) == one.path else one.path,
    )


def _told(facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a run's folder says of the adapters that its names meant."""
    judges = facts.get("judges")
    every = [facts.get("continues"), *(cast("list[Any]", judges) if isinstance(judges, list) else [])]
    return [cast("dict[str, Any]", one) for one in every if isinstance(one, dict)]


def _maker(named: str, before: Sequence[Loaded]) -> int | None:
    """The newest of the recipes that a name means; None where it means none of them."""
    names = [experiment_name(one.recipe) for one in before]
    if named == "last":
        return len(names) - 1 if names else None
    return next((number for number in reversed(range(len(names))) if names[number] == named), None)
