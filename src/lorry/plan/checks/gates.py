"""The gates: whether each can be judged, and asks for something that a score can be."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, ClassVar

from lorry.evaluate import chosen
from lorry.evaluate.metrics._base import About
from lorry.plan.checks._base import Check
from lorry.plan.findings import Explanation, Finding, error, warning
from lorry.recipe.gates import Gate, gates_of

if TYPE_CHECKING:
    from lorry.plan.subject import Subject
    from lorry.recipe.schema import Recipe
    from lorry.trainer.methods._base import Method


_ERROR_RATES = ("cer", "wer")
"""Shares that may be above 1, and seldom are meant to."""


_BELOW_ZERO = ("mean", "nats", "reward")
"""Units of scores that may lie below 0, or that nobody mistakes for shares."""


class GatesCheck(Check):
    """Whether every gate of the recipe can be judged, and can be met."""

    explains: ClassVar[Mapping[str, Explanation]] = {
        "gates.unknown": Explanation(
            "A gate is set on a score that nothing of the recipe gives.",
            "It could not be judged, and would be missed however good the adapter is.",
            "Add the metric to `evaluate.metrics`, or name one of the scores that the finding lists.",
        ),
        "gates.benchmark": Explanation(
            "A gate is set on a benchmark of lm-evaluation-harness that will not be scored, or is asked of rows of the recipe.",
            "It would be missed however good the adapter is.",
            "Leave out `on eval` or `on test`; judge benchmarks of what is trained on a rented machine at home: "
            "`lorry evaluate RUN`.",
        ),
        "gates.no-rows": Explanation(
            "A gate is set, and there are no rows, or no answers, that it could be judged by.",
            "It would be missed however good the adapter is.",
            "Set `data.eval_split: 0.1` or `data.test`, and `evaluate.rows` above 0.",
        ),
        "gates.never": Explanation(
            "A gate asks for what the score can never be, such as 95 of one that ends at 1.",
            "It would be missed however good the adapter is.",
            'Write shares as `"0.95"` or `"95 %"`.',
        ),
        "gates.always": Explanation(
            "A gate asks for what the score always is, such as at least 0 of a share, or at most 1.",
            "It would be met however bad the adapter is.",
            'Write shares as `"0.95"` or `"95 %"`.',
        ),
        "gates.loose": Explanation(
            "A gate lets an error rate be above 1, and its limit has no `%`.",
            "More than every character or word could be wrong: 10 is 1,000 %.",
            'Write `"< 10 %"` or `"< 0.10"`.',
        ),
        "gates.direction": Explanation(
            "A gate asks a score to be high of which less is better, or to be low of which more is better.",
            "The worse the adapter, the sooner it passes.",
            "Turn the sign round, unless it is meant.",
        ),
    }

    def run(self, subject: Subject) -> Iterable[Finding]:
        """Looks at the recipe alone."""
        recipe = subject.recipe
        known = chosen.given(recipe.evaluate.metrics, subject.method)
        for gate in gates_of(recipe.evaluate.gates):
            place = f"evaluate.gates.{gate.score}"
            about = known.get(gate.score)
            if about is None and any(gate.score.startswith(f"{task.name}.") for task in recipe.evaluate.harness):
                yield from _of_benchmark(gate, recipe, subject.method, place)
                continue
            if about is None:
                yield _unknown(gate, known, place)
            else:
                yield from _of(gate, about, recipe, place)


def _of_benchmark(gate: Gate, recipe: Recipe, method: Method, place: str) -> Iterable[Finding]:
    """Whether it is scored at all; what a benchmark gives, it alone knows."""
    asked, code = f"`{gate.score} {gate.asked}`", "gates.benchmark"
    if method.head == "score":
        message = f"{asked} cannot be judged: a reward model gives no answers, and is scored by no benchmark"
        yield error(code, message, remedy="leave the gate out", place=place)
    elif not recipe.compute.is_here:
        message = f"{asked} cannot be judged: benchmarks are not scored on a rented machine"
        yield error(code, message, remedy="leave the gate out, and score benchmarks at home", place=place)
    elif gate.split:
        message = f"{asked} asks for {gate.split} rows, and a benchmark has its own"
        yield error(code, message, remedy=f"leave out `on {gate.split}`", place=place)


def _unknown(gate: Gate, known: Mapping[str, About], place: str) -> Finding:
    near = get_close_matches(gate.score, known, n=1)
    remedy = f"did you mean `{near[0]}`?" if near else f"add it to evaluate.metrics, or name one of {', '.join(known)}"
    return error("gates.unknown", f"nothing gives a score `{gate.score}`", remedy=remedy, place=place)


def _of(gate: Gate, about: About, recipe: Recipe, place: str) -> Iterable[Finding]:
    data, evaluate = recipe.data, recipe.evaluate
    has_rows = {
        "eval": data.eval is not None or (data.eval_split > 0 and data.eval_subset != 0),
        "test": data.test is not None,
    }
    if not (has_rows[gate.split] if gate.split else any(has_rows.values())):
        message = f"`{gate.score} {gate.asked}` has no {gate.split or 'evaluation or test'} rows to be judged by"
        remedy = "name rows in data.test" if gate.split == "test" else "set data.eval_split to 0.1"
        yield error("gates.no-rows", message, remedy=remedy, place=place)
    elif gate.score in chosen.about(evaluate.metrics) and not evaluate.rows:
        message = f"`{gate.score} {gate.asked}` has no answers to be judged by: evaluate.rows is 0"
        yield error("gates.no-rows", message, remedy="set evaluate.rows above 0", place=place)
    yield from _of_limit(gate, about, place)


def _of_limit(gate: Gate, about: About, place: str) -> Iterable[Finding]:
    asked, share = f"`{gate.score} {gate.asked}`", f"`{gate.sign} {gate.limit:g} %`"
    bounds = f"it lies between 0 and {about.highest:g}" if about.highest is not None else "it is never below 0"
    remedy = f"write {share}" if gate.limit > 1 else "write a number that it can reach, and can miss"
    if not _can(gate, about, met=True):
        yield error("gates.never", f"{asked} can never be met: {bounds}", remedy=remedy, place=place)
    elif not _can(gate, about, met=False):
        yield error("gates.always", f"{asked} is always met: {bounds}", remedy=remedy, place=place)
    elif about.higher_is_better is not None and about.higher_is_better != gate.wants_more:
        better = "more" if about.higher_is_better else "less"
        message = f"{asked} passes the worse adapters: {better} of it is better"
        yield warning("gates.direction", message, remedy="turn the sign round, unless it is meant", place=place)
    elif gate.score in _ERROR_RATES and gate.limit > 1 and "%" not in gate.written:
        message = f"{asked} lets more be wrong than there is: it is a share, and {gate.limit:g} is {gate.limit:.0%}"
        yield warning("gates.loose", message, remedy=f"write {share}", place=place)


def _can(gate: Gate, about: About, *, met: bool) -> bool:
    """Whether there is a score that passes, or one that does not."""
    lowest = 0.0 if about.highest is not None or about.unit not in _BELOW_ZERO else -math.inf
    ends = (lowest, math.inf if about.highest is None else about.highest)
    return any(gate.is_met(one) is met for one in ends)
