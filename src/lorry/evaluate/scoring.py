"""Measurements become scores: each metric with its interval, base beside adapter."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lorry.data.examples import UNWANTED, Kind
from lorry.data.images.of_rows import for_people
from lorry.evaluate import bootstrap
from lorry.evaluate.grading import grade
from lorry.evaluate.metrics._base import About, Answer, Metric, Ratio, Score, value_of
from lorry.evaluate.sides import SIDES, WORDS, Measured, Progress, Side

if TYPE_CHECKING:
    from lorry.data.prepare import Task
    from lorry.evaluate.generation import Generated
    from lorry.trainer.row_loss import RowLoss

Json = dict[str, Any]
Sides = dict[Side, bootstrap.Interval | None]

_TOLD_SECONDS = 2.0
"""Between two signs of life while answers are scored."""


def rows(
    split: str,
    tasks: Sequence[Task],
    sides: Mapping[Side, Measured],
    metrics: Mapping[str, Metric],
    progress: Progress,
) -> tuple[list[Json], list[str]]:
    """One entry a task: what was asked, what the row says, what both sides said, and the scores of both; what failed.

    Of scores that are a quotient of sums, `ratios` has both parts: over all rows it is these that are added up.
    """
    answers = {side: answers_of(tasks, sides[side].answers) for side in SIDES}
    total = len(tasks) * len(metrics)
    graded = {
        side: grade(metrics, answers[side], Beat(f"scores of the {WORDS[side]} on {split} rows", total, progress))
        for side in SIDES
    }
    scores: dict[str, dict[Side, list[Score]]] = {
        name: {side: graded[side].scores[name] for side in SIDES} for name in graded[SIDES[0]].scores
    }
    found = [
        {
            "split": split,
            "index": task.index,
            "origin": str(task.origin),
            "prompt": last_content(task),
            "messages": for_people(task.messages) if task.pictures else task.messages,
            **_shown(task),
            "truth": task.truth,
            **{side: answers[side][place].prediction for side in SIDES},
            "scores": {name: {side: value_of(both[side][place]) for side in SIDES} for name, both in scores.items()},
            **_ratios(scores, place),
        }
        for place, task in enumerate(tasks)
    ]
    return found, list(dict.fromkeys(fault for side in SIDES for fault in graded[side].faults))


class Beat:
    """Tells from time to time how far it is: of so many, or, where `total` is 0, of nobody knows how many."""

    def __init__(self, part: str, total: int, progress: Progress) -> None:
        self._part, self._total, self._progress = part, total, progress
        self._done, self._told = 0, time.monotonic()

    def __call__(self) -> None:
        """One more is about to be made."""
        self._done += 1
        if time.monotonic() - self._told > _TOLD_SECONDS:
            self._told = time.monotonic()
            self._progress(self._part, min(self._done, self._total or self._done), self._total or self._done)


def _ratios(scores: Mapping[str, Mapping[Side, Sequence[Score]]], place: int) -> Json:
    found: dict[str, dict[Side, list[float]]] = {}
    for name, both in scores.items():
        parts: dict[Side, list[float]] = {}
        for side in SIDES:
            score = both[side][place]
            if isinstance(score, Ratio):
                parts[side] = list(score)
        if parts:
            found[name] = parts
    return {"ratios": found} if found else {}


def pooled(answers: Sequence[Json], name: str, about: About) -> Json | None:
    """A score over all answers that it applies to, on both sides; None where it applies to none.

    `answers` are entries of `rows`. A mean for scores of single answers; for ratios, all that was counted by all there was.
    """
    scores = {side: [_score(one, name, side) for one in answers] for side in SIDES}
    pools: Sides = {side: pool(scores[side], about) for side in SIDES}
    counted = max(sum(one is not None for one in scores[side]) for side in SIDES)
    return _entry(pools, counted) if any(pools.values()) else None


def pool(scores: Sequence[Score], about: About) -> bootstrap.Interval | None:
    """One score of many, with its interval over rows."""
    known = [one for one in scores if one is not None]
    values = [value_of(one) or 0.0 for one in known]
    highest = None if about.highest is None else (0.0, about.highest)
    if not any(isinstance(one, Ratio) for one in known):
        return bootstrap.mean(values, within=highest)
    if len(values) > 1 and min(values) == max(values):
        # Rows that are all alike would have the bootstrap claim certainty.
        return bootstrap.alike(values[0], len(values), highest or (0.0, max(1.0, values[0])))
    parts = [one if isinstance(one, Ratio) else Ratio(one, 1) for one in known]
    return bootstrap.ratio([one.above for one in parts], [one.below for one in parts])


def _score(answer: Json, name: str, side: Side) -> Score:
    parts = answer.get("ratios", {}).get(name, {}).get(side)
    return Ratio(*parts) if parts else answer["scores"].get(name, {}).get(side)


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


def answers_of(tasks: Sequence[Task], made: Generated) -> list[Answer]:
    """What was generated, as metrics see it."""
    counts = [len(ids) for ids in made.ids] or [None] * len(made.texts)
    return [
        Answer(text, task.truth, task.messages, str(task.origin), task.columns, tokens)
        for task, text, tokens in zip(tasks, made.texts, counts, strict=True)
    ]


def last_content(task: Task) -> str:
    """What was asked last; empty where that is no text."""
    turns = for_people(task.messages[-1:]) if task.pictures else task.messages[-1:]
    content = turns[0].get("content") if turns else None
    return content if isinstance(content, str) else ""


def _shown(task: Task) -> Json:
    """The images of what is asked, by their numbers in the album of the run's rows, and the hashes of their bytes."""
    return (
        {"images": [{"number": one.number, "sha256": one.sha256.hex()} for one in task.pictures]}
        if task.pictures
        else {}
    )


def _loss(many: Sequence[RowLoss]) -> bootstrap.Interval | None:
    return bootstrap.ratio([row.loss_sum for row in many], [row.tokens for row in many])


def _entry(sides: Sides, counted: int) -> Json:
    return {**{side: None if one is None else one.as_dict() for side, one in sides.items()}, "rows": counted}
