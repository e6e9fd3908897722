"""What evaluations during training give, and which of it is watched: for the best step, and for ending early.

Everything here is known from the recipe alone, without torch: checks, plans, reports and whoever brings checkpoints home ask
the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from pydantic import ValidationError

from lorry import plugins
from lorry.errors import LorryError, RecipeError
from lorry.evaluate import chosen as metrics
from lorry.recipe.schema import Recipe
from lorry.trainer.saving.retention import best_first

if TYPE_CHECKING:
    from lorry.trainer.methods._base import Method

LOSS = "loss"
"""What evaluations give of most methods: their own loss."""


@dataclass(frozen=True)
class Watched:
    """A score of evaluations by which steps are compared."""

    name: str = LOSS
    higher_is_better: bool = False

    def best_first(self, scores: Mapping[int, Mapping[str, Any]]) -> list[int]:
        """Evaluated steps, the best first, from what their evaluations gave; where this was not scored they are left out."""
        found = {step: given.get(self.name) for step, given in scores.items()}
        numbers = {step: float(one) for step, one in found.items() if isinstance(one, (int, float))}
        return best_first(numbers, higher_is_better=self.higher_is_better)

    def is_best(self, step: int, scores: Mapping[int, Mapping[str, Any]]) -> bool:
        """Whether no step is better than this one."""
        return self.best_first(scores)[:1] == [step]


def best_by(recipe: Recipe) -> Watched:
    """What makes a step the best. Raises RecipeError for a name that evaluations do not give."""
    return _watched(recipe, recipe.train.best_by or _method(recipe).watches, "train.best_by")


def stops_by(recipe: Recipe) -> Watched | None:
    """What early stopping watches; None without it. Raises RecipeError for a name that evaluations do not give."""
    settings = recipe.train.early_stop
    if settings is None:
        return None
    return _watched(recipe, settings.metric, "train.early_stop.metric") if settings.metric else best_by(recipe)


def best_as_known(recipe: Mapping[str, Any]) -> Watched:
    """What makes a step the best in a run whose recipe stands in `resolved.json`.

    The loss, where that recipe cannot be understood here: neither a report nor a machine's return may fail for it.
    """
    try:
        return best_by(Recipe.model_validate(recipe))
    except (LorryError, ValidationError, ImportError):
        return Watched()


def named(recipe: Recipe) -> dict[str, str]:
    """What the recipe says is to be watched, by the setting that says so."""
    train = recipe.train
    given = {"train.best_by": train.best_by, "train.early_stop.metric": train.early_stop and train.early_stop.metric}
    return {place: name for place, name in given.items() if name is not None}


def given(recipe: Recipe) -> list[str]:
    """Names of what evaluations during training give, and that can be better or worse."""
    answered = metrics.about(recipe.evaluate.metrics) if rows_answered(recipe) else {}
    better = [name for name, about in answered.items() if about.higher_is_better is not None]
    return list(dict.fromkeys([*_method(recipe).gives, *better]))


def rows_answered(recipe: Recipe) -> int:
    """Evaluation rows, at most, that are answered at each evaluation during training, for metrics or rewards to score."""
    scores, method = set(metrics.about(recipe.evaluate.metrics)), _method(recipe)
    asks = method.head == "language" and method.accepts != {"text"}  # raw text asks nothing
    if not asks or not (scores or method.rolls_out):
        return 0
    rows = recipe.evaluate.rows_in_training
    if rows is not None:
        return rows
    return recipe.evaluate.rows if method.rolls_out or scores & set(named(recipe).values()) else 0


def not_given(recipe: Recipe, name: str) -> tuple[str, str]:
    """What is wrong with watching this name, and what to do."""
    told = f"evaluations during training do not give `{name}`"
    known = metrics.about(recipe.evaluate.metrics).get(name)
    if known and known.higher_is_better is None:
        hint = f"name one of {', '.join(given(recipe))}"
        return f"more of `{name}` is neither better nor worse, so it cannot say which step is best", hint
    if known:
        return told, "set evaluate.rows_in_training, or evaluate.rows, above 0"
    return told, f"name one of {', '.join(given(recipe))}, or add it to evaluate.metrics"


def _watched(recipe: Recipe, name: str, place: str) -> Watched:
    if name not in given(recipe):
        message, hint = not_given(recipe, name)
        raise RecipeError(message, place=place, hint=hint)
    told = _method(recipe).gives
    if name in told:
        return Watched(name, told[name])
    return Watched(name, metrics.about(recipe.evaluate.metrics)[name].higher_is_better is True)


def _method(recipe: Recipe) -> Method:
    return cast("Method", plugins.make("methods", recipe.method))
