"""A recipe made ready for its rehearsal: two steps on a processor, on chosen rows, and nobody is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from lorry.plugins import make
from lorry.recipe.layer import show
from lorry.recipe.schema import BudgetSettings, Recipe, TrackSettings

if TYPE_CHECKING:
    from lorry.trainer.methods._base import Method

STEPS = 2
MOST_ACCUMULATED = 2
_MOST_TOKENS = 16
"""Tokens of an answer: a model with random weights says nothing, and does not stop."""
_MOST_ANSWERS = 4
_WITH_MODELS = frozenset({"adapter", "classifier"})
"""Rewards that need a model of their own."""


@dataclass(frozen=True)
class Rehearsed:
    """The recipe that is rehearsed, and how it differs from the true one."""

    recipe: Recipe
    changes: list[str] = field(default_factory=list[str])
    """Lines such as `train.micro_batch: 8 -> 2 (why)`."""


def rehearsal(recipe: Recipe, *, micro_batch: int, accumulation: int) -> Rehearsed:
    """Two steps, each saved, with one evaluation after the second, in micro-batches of this size, on a processor.

    Method, adapter, lengths and optimizer stay as they are, and everything of the data. What changes is told, but for what
    every rehearsal changes: steps, budget, trackers and alerts.
    """
    model, why = _model(recipe)
    train = {
        "micro_batch": micro_batch,
        "accumulation": accumulation,
        "warmup": recipe.train.warmup if recipe.train.warmup < 1 else 1.0,
    }
    in_training = recipe.evaluate.rows_in_training
    evaluate = {
        "rows": min(recipe.evaluate.rows, _MOST_ANSWERS),
        "rows_in_training": in_training and min(in_training, _MOST_ANSWERS),
        "max_new_tokens": min(recipe.evaluate.max_new_tokens, _MOST_TOKENS),
    }
    method, why_method = _method(recipe)
    why |= why_method
    lengths: dict[str, Any] = {"steps": STEPS, "epochs": None, "log_every": 1, "eval_every": STEPS, "save_every": 1}
    group = {**recipe.method, **method}.get("group_size")
    if group is not None:
        train["micro_batch"] = group
    if "rewards" in method:
        lengths |= {"best_by": None, "early_stop": None}
    changed = recipe.model_copy(
        update={
            "model": recipe.model.model_copy(update=model),
            "method": {**recipe.method, **method},
            "train": recipe.train.model_copy(update={**lengths, **train}),
            "evaluate": recipe.evaluate.model_copy(update={**evaluate, "gates": {}, "harness": []}),
            "budget": BudgetSettings(),
            "track": TrackSettings(),
        }
    )
    told = {"model": model, "train": train, "evaluate": evaluate}
    lines = [
        f"{section}.{name}: {show(getattr(getattr(recipe, section), name))} -> {show(value)}{why.get(name, '')}"
        for section, values in told.items()
        for name, value in values.items()
        if getattr(getattr(recipe, section), name) != value
    ]
    lines += [
        f"method.{name}: {show(recipe.method.get(name))} -> {show(value)}{why.get(name, '')}"
        for name, value in method.items()
    ]
    return Rehearsed(changed, lines)


def _method(recipe: Recipe) -> tuple[dict[str, Any], dict[str, str]]:
    """What changes of a method that has the model answer: fewer and shorter answers, and no reward that loads a model."""
    method = cast("Method", make("methods", recipe.method))
    settings: dict[str, Any] = method.model_dump()
    if not method.rolls_out:
        return {}, {}
    changes: dict[str, Any] = {
        "max_new_tokens": min(settings["max_new_tokens"], _MOST_TOKENS),
        "engine": "transformers",
    }
    if method.group > 1:
        changes["group_size"] = 2
    kept = [reward for reward in settings["rewards"] if reward["name"] not in _WITH_MODELS]
    if len(kept) < len(settings["rewards"]):
        changes["rewards"] = kept or [{"name": "metric", "metric": "exact_match"}]
    changes = {name: value for name, value in changes.items() if settings[name] != value}
    return changes, {"rewards": " (other models are not loaded)", "engine": " (vLLM needs a GPU)"}


def _model(recipe: Recipe) -> tuple[dict[str, Any], dict[str, str]]:
    """What of the model's settings works only on a GPU or only with the true weights, and why it is changed."""
    settings = recipe.model
    changes: dict[str, Any] = {}
    if settings.precision == "fp16":
        changes["precision"] = "fp32"
    if settings.attention == "flash":
        changes["attention"] = "auto"
    if settings.adapter is not None:
        changes["adapter"] = None
    why = {
        "precision": " (processors do not train in fp16)",
        "attention": " (FlashAttention needs a GPU)",
        "adapter": " (an earlier adapter does not fit the small copy)",
    }
    return changes, why
