"""What may change in the recipe of a run that is continued, and what makes it another run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from pydantic import ValidationError

from lorry.recipe.layer import show
from lorry.recipe.schema import Recipe, TrainSettings

_FREE = frozenset(
    {
        *("name", "evaluate", "compute", "budget", "track"),
        *(f"train.{name}" for name in ("steps", "epochs", "log_every", "eval_every", "save_every", "save_minutes")),
        *(f"train.{name}" for name in ("keep", "keep_best", "best_by", "deliver", "early_stop")),
        *("train.diverge_at", "train.stall_minutes"),
    }
)
"""Settings that decide how long, how it is watched and what is kept, but not what a step does."""
_PLACES = frozenset({"data.train", "data.eval", "data.test", "data.image_folder"})
"""Where rows lie, which is no matter as long as they are the same: a checkpoint tells their hashes besides."""
_LENGTHS = ("train.steps", "train.epochs")


def deciding(recipe: Recipe) -> dict[str, Any]:
    """The part of a recipe that decides what a step does: a checkpoint is continued with the same one alone."""
    return {
        section: {name: value for name, value in found.items() if not _is_free(f"{section}.{name}", _PLACES)}
        if isinstance(found, dict)
        else found
        for section, found in recipe.model_dump(mode="json").items()
        if not _is_free(section)
    }


def decided_otherwise(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """How what `deciding` gave for two recipes differs, in lines `train.seed: 1 -> 2`.

    A setting that the lorry of that day did not know counts as one with its default: that is what it did.
    """
    try:
        old, new = (dict(_leaves(_with_places(one))) for one in (before, after))
    except ValidationError as error:
        return [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
    changed = [name for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)]
    return [f"{name}: {show(old.get(name))} -> {show(new.get(name))}" for name in changed]


def _with_places(part: Mapping[str, Any]) -> Recipe:
    """A recipe that has this part, with anything for where its files lie."""
    return Recipe.model_validate({**part, "data": {"train": "rows", **dict(part.get("data", {}))}})


def differences(before: Recipe, after: Recipe) -> tuple[list[str], list[str]]:
    """What changed, as lines `train.learning_rate: 0.001 -> 0.0002`: what may not change, and what may."""
    old, new = dict(_leaves(before)), dict(_leaves(after))
    changed = [name for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)]
    shorter = _LENGTHS if _is_shorter(before.train, after.train) else ()
    refused = [name for name in changed if not _is_free(name) or name in shorter]
    lines = {name: f"{name}: {show(old.get(name))} -> {show(new.get(name))}" for name in changed}
    return [lines[name] for name in refused], [lines[name] for name in changed if name not in refused]


def _is_free(name: str, besides: frozenset[str] = frozenset()) -> bool:
    return any(name == free or name.startswith(f"{free}.") for free in _FREE | besides)


def _is_shorter(before: TrainSettings, after: TrainSettings) -> bool:
    """Whether a run would be made shorter, or be counted otherwise than before: in steps, or in epochs."""
    if before.steps is None or after.steps is None:
        return before.steps != after.steps or (after.epochs or 1) < (before.epochs or 1)
    return after.steps < before.steps


def _leaves(recipe: Recipe) -> Iterator[tuple[str, Any]]:
    return _below(recipe.model_dump(mode="json"), "")


def _below(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict) and value and prefix == "":
            yield from _below(cast("dict[str, Any]", value), f"{name}.")
        else:
            yield f"{prefix}{name}", value
