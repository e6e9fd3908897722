"""The metrics: whether the files that they name are there and sound. Nothing of a person's file is run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar

from lorry.evaluate.chosen import metrics_of
from lorry.evaluate.metrics._base import cause_and_remedy
from lorry.evaluate.metrics.json_valid import JsonValid
from lorry.evaluate.metrics.python import PythonMetric
from lorry.plan.checks._base import Check
from lorry.plan.findings import Explanation, Finding, error, note, warning
from lorry.plan.python_files import flaws
from lorry.recipe.paths import in_clone

if TYPE_CHECKING:
    from lorry.plan.subject import Subject

_CODES = {
    "file": "metrics.file",
    "syntax": "metrics.syntax",
    "function": "metrics.function",
    "in-clone": "metrics.in-clone",
}
"""By what is wrong with a function's file."""
_PLACE = "evaluate.metrics"


class MetricsCheck(Check):
    """Whether the files of metrics can be used."""

    explains: ClassVar[Mapping[str, Explanation]] = {
        "metrics.file": Explanation(
            "A file that a metric needs, a Python file or a JSON Schema, is not there, or cannot be read.",
            "It would give no scores.",
            "Name the file relative to the recipe.",
        ),
        "metrics.schema": Explanation(
            "The file that `json_valid` names as its schema is no JSON Schema.",
            "No answer could be held to it.",
            "Correct what the finding names.",
        ),
        "metrics.harness-there": Explanation(
            "The recipe names benchmarks of lm-evaluation-harness, and trains on a machine that is rented.",
            "It is not installed there, so they would not be scored.",
            "Score them at home, once the adapter is: `lorry evaluate RUN`.",
        ),
        "metrics.in-clone": Explanation(
            "The file of a metric is not here, and is taken from the repository that `compute.code` clones.",
            "It was not looked at: a fault in it shows on the machine.",
            "Put a copy beside the recipe to have it checked; that copy is then used.",
        ),
        "metrics.syntax": Explanation(
            "A Python file that holds a metric has a syntax error.",
            "It could not be imported, and the metric would give no scores.",
            "Correct the line that the finding names.",
        ),
        "metrics.function": Explanation(
            "The file has no function of the metric's name, or an `async` one.",
            "Metrics are called as plain functions, and give a number.",
            "Name one of the functions that the finding lists; write `def` in place of `async def`.",
        ),
    }

    def run(self, subject: Subject) -> Iterable[Finding]:
        """Reads files."""
        recipe = subject.recipe
        if recipe.evaluate.harness and not recipe.compute.is_here:
            told = "benchmarks are not scored on a rented machine, which has no lm-evaluation-harness"
            remedy = "score them at home, once the adapter is: `lorry evaluate last`"
            yield warning("metrics.harness-there", told, remedy=remedy, place="evaluate.harness")
        for number, metric in enumerate(metrics_of(recipe.evaluate.metrics).values()):
            place = f"{_PLACE}[{number}]"
            if isinstance(metric, PythonMetric):
                for flaw in flaws(metric.file, metric.function, subject.base, recipe):
                    code = _CODES[flaw.kind]
                    if flaw.kind == "in-clone":
                        yield note(code, flaw.message, place=place)
                    else:
                        yield error(code, flaw.message, remedy=flaw.remedy, place=flaw.at or place)
            elif isinstance(metric, JsonValid) and isinstance(metric.json_schema, str):
                yield from _of_schema(metric.json_schema, place, subject)


def _of_schema(named: str, place: str, subject: Subject) -> Iterable[Finding]:
    cloned = in_clone(named, subject.base, subject.recipe)
    if cloned:
        told = f"`{cloned}` is not here: it is taken from the repository of compute.code, and was not looked at"
        yield note("metrics.in-clone", told, place=place)
        return
    (metric,) = metrics_of([{"name": "json_valid", "json_schema": named}], subject.base).values()
    message, remedy = cause_and_remedy(metric.unavailable() or "")
    if message and "not installed" not in message:
        code = "metrics.file" if "cannot be read" in message else "metrics.schema"
        yield error(code, message, remedy=remedy, place=place)
