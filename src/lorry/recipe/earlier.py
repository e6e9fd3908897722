"""The adapter that a recipe continues: a folder, what a run has delivered, or what an earlier recipe will make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lorry.errors import InputError
from lorry.recipe.load import Loaded
from lorry.recipe.name import experiment_name
from lorry.recipe.paths import from_home, is_run_name
from lorry.recipe.schema import Recipe

PLACE = "model.adapter"


@dataclass(frozen=True)
class Earlier:
    """What `model.adapter` means."""

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
    maker: int | None
    """The place among them of the one whose adapter it continues; None where it continues none of theirs."""


def find(named: str, base: Path) -> Earlier:
    """What a recipe in the folder `base` continues. Raises InputError where a name means no run with an adapter."""
    if not is_run_name(named, [base]):
        return Earlier(named, base / from_home(named))
    from lorry.track.delivered import delivered

    try:
        run = delivered(named)
    except InputError as error:
        raise InputError(error.message, hint=error.hint, place=PLACE) from error
    return Earlier(named, run.adapter, run.id)


def linked(every: Sequence[Loaded]) -> list[Linked]:
    """Recipes that take turns, each knowing what it continues: `last`, or the name of an experiment, of those before it."""
    found: list[Linked] = []
    for number, loaded in enumerate(every):
        named = loaded.recipe.model.adapter
        maker = _maker(named, every[:number]) if named and is_run_name(named, [loaded.base]) else None
        if named and maker is not None:
            to_come = Earlier(named, None, maker=every[maker].recipe)
            found.append(Linked(replace(loaded, earlier=to_come), maker))
        else:
            found.append(Linked(loaded, None))
    return found


def as_continued(recipe: Recipe, kept: Recipe, continues: Any) -> Recipe:
    """A recipe that is held against the one of a run, with the adapter that its name meant when the run began.

    `continues` is what the run's folder says of that.
    """
    named = continues.get("named") if isinstance(continues, dict) else None
    if named is None or recipe.model.adapter != named:
        return recipe
    return recipe.model_copy(update={"model": recipe.model.model_copy(update={"adapter": kept.model.adapter})})


def _maker(named: str, before: Sequence[Loaded]) -> int | None:
    """The newest of the recipes that a name means; None where it means none of them."""
    names = [experiment_name(one.recipe) for one in before]
    if named == "last":
        return len(names) - 1 if names else None
    return next((number for number in reversed(range(len(names))) if names[number] == named), None)
