"""The budget against what the run is likely to take on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar

from lorry import units
from lorry.plan.checks._base import Check
from lorry.plan.cost import HOUR, against
from lorry.plan.findings import Explanation, Finding, warning
from lorry.plan.subject import UnavailableError

if TYPE_CHECKING:
    from lorry.plan.ranges import Range
    from lorry.plan.subject import Subject


class BudgetCheck(Check):
    """Whether the run is likely to end before its budget does."""

    of_this_computer: ClassVar[bool] = True
    explains: ClassVar[Mapping[str, Explanation]] = {
        "budget.hours": Explanation(
            "The run is likely to take longer than `budget.hours`, or may.",
            "At the limit it saves, delivers and evaluates what it has: fewer steps than the recipe asks for.",
            "Make fewer steps, take a faster machine, or raise the limit.",
        ),
        "budget.usd": Explanation(
            "The run is likely to cost more than `budget.usd` at `budget.price_per_hour`, or may.",
            "At the limit it saves, delivers and evaluates what it has: fewer steps than the recipe asks for.",
            "Make fewer steps, take a machine that is cheaper for the work, or raise the limit.",
        ),
    }

    def run(self, subject: Subject) -> Iterable[Finding]:
        """Compares hours and dollars with the estimate; where there is none, other checks say so."""
        budget = subject.recipe.budget
        if budget.hours is None and budget.usd is None:
            return
        try:
            here = subject.planner.estimate().here.cost
        except UnavailableError as unknown:
            if unknown.part != "planner":
                raise
            return
        if here is None:
            return
        if budget.hours is not None:
            yield from _over("hours", here.elapsed, budget.hours * HOUR, units.duration)
        if budget.usd is not None and budget.price_per_hour:
            spent = here.elapsed * (budget.price_per_hour / HOUR)
            yield from _over("usd", spent, budget.usd, units.money)


def _over(name: str, expected: Range, cap: float, told: Callable[[float], str]) -> Iterable[Finding]:
    verdict = against(expected, cap)
    if verdict == "within":
        return
    yield warning(
        f"budget.{name}",
        f"the run is likely to take {told(expected.likely)}, up to {told(expected.high)}, and the budget is {told(cap)}"
        if verdict == "passes"
        else f"the run may take up to {told(expected.high)}, and the budget is {told(cap)}",
        remedy="at the budget's end it saves, delivers and says what the rest would cost; make fewer steps, or raise it",
        place=f"budget.{name}",
    )
