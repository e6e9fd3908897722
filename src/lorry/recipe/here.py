"""The recipe as the machine at hand carries it out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lorry.recipe.schema import BudgetSettings, Recipe, TrackSettings


def recipe_here(facts: Mapping[str, Any]) -> Recipe:
    """The recipe that `resolved.json` holds; on a rented machine with what that one may take of the budget.

    Trackers are not told from there but from home, where their keys are.
    """
    recipe = Recipe.model_validate(facts["recipe"])
    rented = facts.get("rented")
    if not rented:
        return recipe
    return recipe.model_copy(update={"budget": BudgetSettings(**rented["budget"]), "track": TrackSettings()})
