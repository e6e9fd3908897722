"""What a run computes: tokens of its steps and of its largest micro-batch, from the rendered rows in the order of training."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import numpy as np

from lorry.plan.memory import Load
from lorry.plan.rollouts import LIKELY, Answers, answers_of, fillers
from lorry.plan.rows import spread
from lorry.plugins import make
from lorry.trainer.forest import Forest, lineage, plant
from lorry.trainer.methods._rollouts import FromRollouts
from lorry.trainer.order import Order, order_of
from lorry.trainer.watched import rows_answered

if TYPE_CHECKING:
    from lorry.data.examples import Example
    from lorry.data.prepare import Prepared
    from lorry.recipe.schema import Recipe
    from lorry.trainer.methods._base import Method

_SAMPLED = 48
"""Micro-batches that are planted to learn how much of their rows they share."""


@dataclass(frozen=True)
class Tokens:
    """What the whole run computes."""

    steps: int
    micro_batches: int
    rows: float
    """Tokens of all rows, over all passes."""
    computed: float
    """The same, shared beginnings once."""
    trained: float
    """Tokens whose logits are made: those that count in the loss, and none for a reward model."""
    context: float
    """Tokens that one token sees, on average."""
    eval_tokens: int
    """Tokens of the evaluation rows, once."""
    taken: float
    """Tokens of the rows as they are before the model answers them, over all passes: by these a run's pace is told."""
    answers: Answers | None = None
    """Those of the model's own, where it learns from them."""
    image_tokens: float = 0.0
    """Those of images, over all passes; an image that rows of a micro-batch share counts once."""
    asked: float = 0.0
    """Forward passes over each computed token beside those of training: what a reference says, and what was said before."""

    @property
    def at_once(self) -> float:
        """Tokens that an average micro-batch computes."""
        return self.computed / max(self.micro_batches, 1)


def tokens(prepared: Prepared, recipe: Recipe, micro_batch: int, *, shares: bool) -> Tokens:
    """What the run computes in such micro-batches; how much rows share is measured on some, spread over it."""
    method = cast("Method", make("methods", recipe.method))
    if isinstance(method, FromRollouts):
        return _of_rollouts(prepared, recipe, method, micro_batch, shares=shares)
    order = replace(order_of(prepared.train, recipe), micro_batch=micro_batch)
    forests, looked_at = _sample(prepared, order, method, shares=shares)
    rows, computed = sum(one.row_tokens for one in [*forests, *looked_at]), sum(one.tokens for one in forests)
    trained, seen = sum(one.trained_tokens for one in forests), sum(_seen(one) for one in forests)
    total = float(order.tokens_after(0))
    return Tokens(
        steps=order.steps,
        micro_batches=-(-order.total_units // order.micro_batch),
        rows=total,
        computed=total * computed / max(rows, 1),
        trained=total * trained / max(rows, 1) if method.head == "language" else 0.0,
        context=seen / max(computed, 1),
        eval_tokens=prepared.eval.tokens if prepared.eval is not None else 0,
        taken=total,
        image_tokens=total * sum(one.image_tokens for one in forests) / max(rows, 1),
        asked=_asked(method, order, sum(one.tokens for one in looked_at) / max(computed, 1)),
    )


def _asked(method: Method, order: Order, looked_at: float) -> float:
    """Forward passes over each token that is trained on; `looked_at` are, for each of them, those that are not trained on."""
    if not method.needs_reference:
        return looked_at
    once = len(order.units) / max(order.total_units, 1) if method.asks_once else 1.0
    return once + looked_at * (1 + once)


def _of_rollouts(prepared: Prepared, recipe: Recipe, method: FromRollouts, micro_batch: int, *, shares: bool) -> Tokens:
    """The same for answers that are not made yet."""
    order, length = order_of(prepared.train, recipe), max(1, round(LIKELY * method.max_new_tokens))
    forests, taken = list[Forest](), 0
    for step in spread(order.steps, _SAMPLED):
        rows = [row for part in order.micro_batches(step + 1) for row in part]
        taken += sum(int(order.lengths[row]) for row in rows)
        made = fillers(prepared.train, rows, method, length)
        forests += [plant(made[at : at + micro_batch], share=shares) for at in range(0, len(made), micro_batch)]
    total = float(order.tokens_after(0))
    computed = sum(one.tokens for one in forests)
    answers = answers_of(order, method, recipe)
    return Tokens(
        steps=order.steps,
        micro_batches=order.steps * -(-recipe.train.micro_batch * recipe.train.accumulation // micro_batch),
        rows=total * sum(one.row_tokens for one in forests) / max(taken, 1),
        computed=total * computed / max(taken, 1),
        trained=total * sum(one.trained_tokens for one in forests) / max(taken, 1),
        context=sum(_seen(one) for one in forests) / max(computed, 1),
        eval_tokens=0,
        taken=total,
        answers=answers,
        asked=answers.measured / answers.passes,
    )


def load(prepared: Prepared, recipe: Recipe, micro_batch: int, *, shares: bool) -> Load:
    """The micro-batch of this size that has most tokens, of all that the run makes, and its evaluation's answers."""
    method = cast("Method", make("methods", recipe.method))
    forest = plant(_heaviest(prepared, recipe, method, micro_batch), share=shares)
    longest = int(
        max(split.lengths.max() for split in (prepared.train, prepared.eval) if split is not None and len(split))
    )
    answers = method.head == "language"
    most_asked = max(recipe.evaluate.rows if answers else 0, rows_answered(recipe))
    asks = (bool(most_asked) and prepared.eval is not None) or method.rolls_out
    most = max(recipe.evaluate.max_new_tokens, method.max_new_tokens if isinstance(method, FromRollouts) else 0)
    return Load(
        tokens=forest.tokens,
        keys=sum(len(group) * _above_and_own(forest, group) for group in forest.groups),
        trained=forest.trained_tokens if answers else 0,
        image_tokens=forest.image_tokens,
        answers=recipe.evaluate.batch_size if asks else 0,
        answer_tokens=longest + most if asks else 0,
    )


def _heaviest(prepared: Prepared, recipe: Recipe, method: Method, micro_batch: int) -> list[Example]:
    """The examples of the micro-batch with most tokens."""
    order = order_of(prepared.train, recipe)
    if isinstance(method, FromRollouts):
        longest = int(order.lengths.argmax())
        made = fillers(prepared.train, [longest] * micro_batch, method, method.max_new_tokens)
        return made[:micro_batch]
    order = replace(order, micro_batch=micro_batch)
    step, part = order.heaviest()
    trained, _ = method.divided(prepared.train, order.micro_batches(step)[part])
    return [prepared.train[row] for row in trained]


def _sample(prepared: Prepared, order: Order, method: Method, *, shares: bool) -> tuple[list[Forest], list[Forest]]:
    """Some micro-batches of the run: what is trained on, and what is only looked at."""
    forests, looked_at = list[Forest](), list[Forest]()
    for step in spread(order.steps, _SAMPLED):
        parts = order.micro_batches(step + 1)
        # Within a step micro-batches are sorted by length: taking the middle one alone would flatter neither end.
        for part in parts if len(parts) <= 2 else (parts[0], parts[len(parts) // 2], parts[-1]):
            for rows, into in zip(method.divided(prepared.train, part), (forests, looked_at), strict=True):
                if rows:
                    into.append(plant([prepared.train[row] for row in rows], share=shares))
    return forests, looked_at


def _above_and_own(forest: Forest, group: range) -> int:
    """Keys that each row of a group is given: those of its beginning, and its own up to the longest."""
    above = lineage(forest.segments, forest.segments[group[0]].parent)
    longest = max(forest.segments[index].length for index in group)
    return sum(forest.segments[index].length for index in above) + longest


def _seen(forest: Forest) -> float:
    """Tokens that all tokens together see, each up to itself."""
    return float(np.sum(forest.positions + 1))
