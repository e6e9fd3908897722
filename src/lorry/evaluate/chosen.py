"""The metrics that a recipe chooses, and the names of their scores; known without torch and without a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from lorry import plugins
from lorry.errors import RecipeError
from lorry.evaluate.metrics._base import About, Metric
from lorry.recipe.paths import from_home


def metrics_of(specs: Sequence[str | Mapping[str, Any]], base: Path | None = None) -> dict[str, Metric]:
    """The metrics that a recipe names, by what they are called. Files that they name start from `base`.

    Raises InputError for an unknown one, a wrong setting, or a name that two of them have.
    """
    made: dict[str, Metric] = {}
    for spec in specs:
        metric = cast("Metric", plugins.make("metrics", _with_files(spec, base)))
        if metric.label in made:
            hint = "name each metric once, with the settings that count"
            raise RecipeError(f"metric `{metric.label}` is named twice", place="evaluate.metrics", hint=hint)
        made[metric.label] = metric
    return made


def about(specs: Sequence[str | Mapping[str, Any]]) -> dict[str, About]:
    """What each score of the named metrics is. Raises InputError as `metrics_of` does."""
    return {name: one for metric in metrics_of(specs).values() for name, one in metric.about.items()}


def _with_files(spec: str | Mapping[str, Any], base: Path | None) -> str | Mapping[str, Any]:
    """A metric's settings with the files that it names as they lie here."""
    name = spec if isinstance(spec, str) else spec.get("name")
    if base is None or isinstance(spec, str) or not isinstance(name, str):
        return spec
    files = cast("type[Metric]", plugins.find("metrics", name)).files
    here = {key: str(Path(base, from_home(str(spec[key])))) for key in files if isinstance(spec.get(key), str | Path)}
    return {**spec, **here}
