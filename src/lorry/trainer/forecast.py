"""A run against its plan: after its first steps it says how long all of it will take, and whether that passes the budget."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import mean, median

from lorry import units
from lorry.errors import RefusedError
from lorry.plan.expected import FIRST, WARMING, Expected, SoFar, outlook
from lorry.plan.ranges import Range
from lorry.recipe.schema import BudgetSettings
from lorry.track.folder import Answers
from lorry.track.process import is_alive
from lorry.trainer.channel import Reporter
from lorry.trainer.order import Order
from lorry.trainer.saving.state import State
from lorry.trainer.step import Step

UNSURE = 1.15
"""How many times too long a forecast may be: up to this times the budget nobody is stopped for it."""


class OverrunError(RefusedError):
    """The run would pass its budget, and nobody is there to say that it shall go on all the same."""


@dataclass
class Forecast:
    """Looks at the first steps of an attempt, and then says once what the run will take."""

    expected: Expected | None
    """None where there was no estimate."""
    budget: BudgetSettings
    events: Reporter
    answers: Answers = "none"
    watcher: tuple[int, float | None] | None = None
    """Number and start of the process through which a person can be asked; None for none."""
    _paces: list[float] = field(default_factory=list[float])
    """Of each step, the seconds for a token."""
    _evaluations: list[float] = field(default_factory=list[float])
    _was_said: bool = False
    _passes: int = 1

    def saw(self, step: Step, seconds: float, passes: int = 1) -> None:
        """A step was made, one of so many that take the same rows: the first of them has the model answer these, if it does."""
        self._passes = passes
        if len(self._paces) < FIRST * passes and step.rows:
            self._paces.append(seconds / step.taken_tokens)

    def evaluated(self, seconds: float) -> None:
        """An evaluation was made."""
        self._evaluations.append(seconds)

    def scoring(self) -> float:
        """Seconds that scoring at the end is likely to take; 0 where nothing is known of it."""
        if self.expected is None:
            return 0.0
        slower = self.expected.slower(self._pace) if len(self._paces) > WARMING else 1.0
        return slower * self.expected.duration.scoring.likely

    def say(self, order: Order, state: State, elapsed: float, evaluations_left: int) -> str | None:
        """Says what the whole run will take, once, when enough steps were seen; why it must end now, if it must."""
        seen = len(self._paces) >= FIRST * self._passes
        if self.expected is None or self._was_said or not seen or state.step >= order.steps:
            return None
        so_far = SoFar(
            elapsed=elapsed,
            pace=self._pace,
            left_tokens=order.tokens_after(state.step),
            evaluations=tuple(self._evaluations),
            evaluations_left=evaluations_left,
        )
        self._was_said = True
        total = outlook(self.expected, so_far)
        told = f"{self._priced(total)}; planned were {_span(self.expected.total)}"
        self.events.append("forecast", step=state.step, seconds=total, message=f"all of it will take about {told}")
        return self._overrun(total, state.step)

    @property
    def _pace(self) -> float:
        """The median, for other work may disturb some steps; of steps that take the same rows their mean counts as one."""
        rounds = [mean(self._paces[at : at + self._passes]) for at in range(0, len(self._paces), self._passes)]
        return median(rounds[WARMING:] or rounds)

    def _priced(self, total: float) -> str:
        price = self.budget.price_per_hour / 3600
        cost = f" and cost {units.money(price * total)}" if price else ""
        return f"{units.duration(total)}{cost}"

    def _overrun(self, total: float, step: int) -> str | None:
        """Says by how much the budget would be passed; why the run must end, where nobody can be asked."""
        told = passed(self.budget, total)
        way = self.budget.overrun
        if told is None or way == "continue" or (way == "ask" and self.answers == "yes"):
            return None
        asks = way == "ask" and self.answers == "ask" and self.watcher is not None and is_alive(*self.watcher)
        ends = not asks and passed(self.budget, total / UNSURE) is not None
        action = "ask" if asks else "stop" if ends else "continue"
        self.events.append("overrun", step=step, seconds=total, message=told, action=action)
        return told if ends else None


def _span(planned: Range) -> str:
    return f"{units.duration(planned.likely)} ({units.duration(planned.low)} to {units.duration(planned.high)})"


def passed(budget: BudgetSettings, seconds: float) -> str | None:
    """The limit that a run of so many seconds passes, in words; None where it passes none."""
    hours = seconds / 3600
    if budget.hours is not None and hours > budget.hours:
        return f"it would take {units.duration(seconds)}, over the budget of {budget.hours:g} hours"
    if budget.usd is not None and hours * budget.price_per_hour > budget.usd:
        return (
            f"it would cost {units.money(hours * budget.price_per_hour)}, over the budget of {units.money(budget.usd)}"
        )
    return None
