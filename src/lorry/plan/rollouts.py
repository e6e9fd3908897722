"""What methods compute that learn from the model's own answers, before there are any: answers of a likely length, of filler."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lorry.data.examples import Example
from lorry.plan.ranges import Range

if TYPE_CHECKING:
    from lorry.data.examples import ExampleSet
    from lorry.recipe.schema import Recipe
    from lorry.trainer.methods._rollouts import FromRollouts
    from lorry.trainer.order import Order

LIKELY = 0.5
"""Of the longest answer that is allowed: how long answers are taken to be."""


@dataclass(frozen=True)
class Answers:
    """The answers of all rollouts."""

    count: int
    at_once: int
    batches: int
    """In which they are made: a rollout makes its own alone."""
    tokens: Range
    """Of the longest answer of a batch, at which the batch ends."""
    prompt_tokens: float
    """Of all prompts, once for each answer."""
    measured: int
    """Forward passes over each answer before it is trained on: its log-probabilities, and the reference's."""
    passes: int
    """Steps that are trained on each."""


def answers_of(order: Order, method: FromRollouts, recipe: Recipe) -> Answers:
    """What a run's rollouts take."""
    count = order.total_units * method.group
    most, each = float(method.max_new_tokens), order.per_step * method.group
    return Answers(
        count=count,
        at_once=min(recipe.evaluate.batch_size, each),
        batches=-(-order.total_units // order.per_step) * -(-each // recipe.evaluate.batch_size),
        tokens=Range(LIKELY * most, most, most),
        prompt_tokens=float(order.tokens_after(0)) / order.passes * method.group,
        measured=int(method.keeps_before or method.has_value_head) + int(method.needs_reference),
        passes=order.passes,
    )


def fillers(prompts: ExampleSet, rows: Sequence[int], method: FromRollouts, length: int) -> list[Example]:
    """Answers of so many tokens to the prompts of these rows, those to one side by side."""
    made: list[Example] = []
    for row in rows:
        prompt = prompts[row].ids
        for at in range(method.group):
            ids = np.concatenate([prompt, np.full(length, at)]).astype(np.int32)
            made.append(Example(ids, np.arange(len(ids)) >= len(prompt)))
    return made
