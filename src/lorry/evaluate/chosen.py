"""The metrics that a recipe chooses, and the names of their scores; known without torch and without a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from lorry import plugins
from lorry.errors import RecipeError
from lorry.evaluate.metrics._base import About, Metric
from lorry.recipe.paths import from_home

if TYPE_CHECKING:
    from lorry.trainer.methods._base import Method


_TAKEN = frozenset({"loss", "perplexity", "preference_accuracy", "reward"})
"""Scores that are made without any metric: one of the same name would take their place, or lose its own."""


def metrics_of(specs: Sequence[str | Mapping[str, Any]], base: Path | None = None) -> dict[str, Metric]:
    """The metrics that a recipe names, by what they are called. Files that they name start from `base`.

    Raises InputError for an unknown one, a wrong setting, or a name that two of them have or that is taken.
    """
    made: dict[str, Metric] = {}
    for spec in specs:
        metric = cast("Metric", plugins.make("metrics", _with_files(spec, base)))
        if metric.label in made:
            hint = "name each metric once, with the settings that count"
            raise RecipeError(f"metric `{metric.label}` is named twice", place="evaluate.metrics", hint=hint)
        if metric.label in _TAKEN:
            hint = "give the function another name"
            raise RecipeError(f"`{metric.label}` is a score of lorry's own", place="evaluate.metrics", hint=hint)
        made[metric.label] = metric
    return made


def about(specs: Sequence[str | Mapping[str, Any]]) -> dict[str, About]:
    """What each score of the named metrics is. Raises InputError as `metrics_of` does."""
    return {name: one for metric in metrics_of(specs).values() for name, one in metric.about.items()}


def given(specs: Sequence[str | Mapping[str, Any]], method: Method, *, with_rewards: bool = True) -> dict[str, About]:
    """What an evaluation gives of its rows, by name; what benchmarks give, they alone know.

    Rewards are asked only at the end of a run. Raises InputError as `metrics_of` does.
    """
    if method.head == "score":
        return {"reward_accuracy": About()}
    known: dict[str, About] = {}
    if not method.rolls_out:  # rows that are prompts have no loss
        known = {name: About(False, "nats", None) for name in ("loss", "perplexity")}
    elif with_rewards:
        known = {name: About(is_higher, "reward", None) for name, is_higher in method.gives.items() if "reward" in name}
    if "preference" in method.accepts:
        known["preference_accuracy"] = About()
    return known if method.accepts == {"text"} else {**known, **about(specs)}  # raw text asks nothing


def _with_files(spec: str | Mapping[str, Any], base: Path | None) -> str | Mapping[str, Any]:
    """A metric's settings with the files that it names as they lie here."""
    name = spec if isinstance(spec, str) else spec.get("name")
    if base is None or isinstance(spec, str) or not isinstance(name, str):
        return spec
    files = cast("type[Metric]", plugins.find("metrics", name)).files
    here = {key: str(Path(base, from_home(str(spec[key])))) for key in files if isinstance(spec.get(key), str | Path)}
    return {**spec, **here}
