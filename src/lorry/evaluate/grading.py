"""Metrics at work: all scores of many answers, whatever a metric does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from lorry.evaluate.metrics._base import Answer, Fault, Metric, Score, is_number, nothing

_TOLD = 160
"""Characters of a fault that are told."""


@dataclass(frozen=True)
class Graded:
    """What metrics say of some answers."""

    scores: dict[str, list[Score]]
    """By the score's name, one an answer."""
    faults: list[str]
    """What failed, in words: the first fault of each metric, and at how many answers; those have no score of it."""


def grade(metrics: Mapping[str, Metric], answers: Sequence[Answer], beat: Callable[[], None] = nothing) -> Graded:
    """All scores of all answers. What a metric fails at is that answer's None, and is told.

    `beat` is called before each answer.
    """
    scores, faults = dict[str, list[Score]](), list[str]()
    for name, metric in metrics.items():
        said = _said(metric, answers, beat)
        parts = [_parts(metric, answer) if metric.parts else {} for answer in answers]
        failed = [one if isinstance(one, Fault) else other for one, other in zip(said, parts, strict=True)]
        told = [one.told for one in failed if isinstance(one, Fault)]
        if told:
            faults.append(f"{name} failed at {len(told):,} of {len(answers):,} answers: {told[0][:_TOLD]}")
        scores[name] = [None if isinstance(one, Fault) else one for one in said]
        for part in metric.parts:
            scores[f"{name}.{part}"] = [None if isinstance(one, Fault) else one.get(part) for one in parts]
    return Graded(scores, faults)


def _said(metric: Metric, answers: Sequence[Answer], beat: Callable[[], None]) -> Sequence[Score | Fault]:
    """All at once; where that fails, one by one, for the others are not to blame."""
    try:
        said = metric.score_all(answers, beat)
        if len(said) != len(answers):
            raise ValueError(f"gave {len(said)} scores for {len(answers)} answers")
    except Exception:
        said = [_alone(metric, answer, beat) for answer in answers]
    return [
        one if isinstance(one, Fault) or is_number(one) else Fault(f"gave {one}, which is no number") for one in said
    ]


def _alone(metric: Metric, answer: Answer, beat: Callable[[], None]) -> Score | Fault:
    try:
        (score,) = metric.score_all([answer], beat)
    except Exception as error:
        return Fault(f"{type(error).__name__}: {error}")
    return score


def _parts(metric: Metric, answer: Answer) -> Mapping[str, Score] | Fault:
    try:
        found = metric.score_parts(answer)
    except Exception as error:
        return Fault(f"{type(error).__name__}: {error}")
    wrong = next((one for one in found.values() if not is_number(one)), None)
    return found if wrong is None else Fault(f"gave {wrong}, which is no number")
