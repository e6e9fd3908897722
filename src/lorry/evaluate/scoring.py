"""Measurements become scores: each metric with its interval, base beside adapter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from lorry import plugins
from lorry.data.examples import UNWANTED, Kind
from lorry.errors import RecipeError
from lorry.evaluate import bootstrap
from lorry.evaluate.metrics._base import Answer, Metric
from lorry.evaluate.sides import SIDES, Measured, Side

if TYPE_CHECKING:
    from lorry.data.prepare import Task
    from lorry.trainer.row_loss import RowLoss

Json = dict[str, Any]
Sides = dict[Side, bootstrap.Interval | None]


def metrics_of(specs: Sequence[str | Mapping[str, Any]]) -> dict[str, Metric]:
    """The metrics that a recipe names. Raises InputError for an unknown one, a wrong setting or a name given twice."""
    made: dict[str, Metric] = {}
    for spec in specs:
        metric = cast("Metric", plugins.make("metrics", spec))
        if metric.name in made:
            hint = "name each metric once, with the settings that count"
            raise RecipeError(f"metric `{metric.name}` is named twice", place="evaluate.metrics", hint=hint)
        made[metric.name] = metric
    return made


def rows(
    split: str, tasks: Sequence[Task], sides: Mapping[Side, Measured], metrics: Mapping[str, Metric]
) -> list[Json]:
    """One entry a task: what was asked, what the row says, what both sides said, and the scores of both."""
    answers = {side: _answers(tasks, sides[side].answers.texts) for side in SIDES}
    scores = {name: {side: metric.score_all(answers[side]) for side in SIDES} for name, metric in metrics.items()}
    return [
        {
            "split": split,
            "index": task.index,
            "origin": str(task.origin),
            "prompt": last_content(task),
            "messages": task.messages,
            "truth": task.truth,
            **{side: answers[side][place].prediction for side in SIDES},
            "scores": {name: {side: both[side][place] for side in SIDES} for name, both in scores.items()},
        }
        for place, task in enumerate(tasks)
    ]


def losses(sides: Mapping[Side, Measured], kinds: NDArray[np.int8]) -> Json:
    """`loss` (natural logarithm per trained token, over all rows) and `perplexity`, of both sides.

    Of answers that people disliked nothing is to be learnt: they count in `preferences` alone. `kinds` are those of examples.
    """
    wanted: dict[Side, Sequence[RowLoss]] = {}
    for side in SIDES:
        wanted[side] = [row for row in sides[side].losses if kinds[row.index] not in UNWANTED]
    return _losses(wanted) | preferences({side: sides[side].losses for side in SIDES}, kinds)


def preferences(losses: Mapping[Side, Sequence[RowLoss]], kinds: NDArray[np.int8]) -> Json:
    """`preference_accuracy`: the share of pairs whose chosen answer is likelier, per token, than the other; of both sides.

    Nothing where there are no pairs. A tie is half right.
    """
    pairs = chosen_of(kinds)
    if not pairs:
        return {}
    means = {side: {row.index: row.loss_sum / max(row.tokens, 1) for row in losses[side]} for side in SIDES}
    right: dict[Side, Sequence[float | None]] = {}
    for side in SIDES:
        right[side] = [is_less(means[side].get(at), means[side].get(at + 1)) for at in pairs]
    scored = means_of(right)
    return {"preference_accuracy": scored} if scored else {}


def chosen_of(kinds: NDArray[np.int8]) -> list[int]:
    """Where the chosen answer of each pair stands among examples of these kinds; the other one follows it."""
    return [at for at in range(len(kinds) - 1) if kinds[at] == Kind.CHOSEN and kinds[at + 1] == Kind.REJECTED]


def is_less(one: float | None, other: float | None) -> float | None:
    """1 where it is, 0 where it is not, a half for a tie; None where one of them is not known."""
    if one is None or other is None:
        return None
    return 0.5 if one == other else float(one < other)


def _losses(rows: Mapping[Side, Sequence[RowLoss]]) -> Json:
    loss: Sides = {side: _loss(rows[side]) for side in SIDES}
    perplexity: Sides = {side: one and one.mapped(bootstrap.perplexity) for side, one in loss.items()}
    counted = max(sum(row.tokens > 0 for row in rows[side]) for side in SIDES)
    return {"loss": _entry(loss, counted), "perplexity": _entry(perplexity, counted)} if counted else {}


def means_of(
    scores: Mapping[Side, Sequence[float | None]], within: tuple[float, float] | None = (0.0, 1.0)
) -> Json | None:
    """A metric's mean on both sides, over the answers that it applies to; None where it applies to none.

    `within` are the least and the most that it can give; None takes what was seen on either side for that.
    """
    kept: dict[Side, list[float]] = {side: [one for one in scores[side] if one is not None] for side in SIDES}
    seen = [one for side in SIDES for one in kept[side]]
    if not seen:
        return None
    mean: Sides = {side: bootstrap.mean(kept[side], within=within or (min(seen), max(seen))) for side in SIDES}
    return _entry(mean, max(map(len, kept.values())))


def _answers(tasks: Sequence[Task], texts: Sequence[str]) -> list[Answer]:
    pairs = zip(tasks, texts, strict=True)
    return [Answer(text, task.truth, task.messages, str(task.origin)) for task, text in pairs]


def last_content(task: Task) -> str:
    """What was asked last; empty where that is no text."""
    content = task.messages[-1].get("content") if task.messages else None
    return content if isinstance(content, str) else ""


def _loss(many: Sequence[RowLoss]) -> bootstrap.Interval | None:
    return bootstrap.ratio([row.loss_sum for row in many], [row.tokens for row in many])


def _entry(sides: Sides, counted: int) -> Json:
    return {**{side: None if one is None else one.as_dict() for side, one in sides.items()}, "rows": counted}
