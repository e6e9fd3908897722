"""What ends a training before its last step: a budget that is used up, evaluations that get no better."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from lorry.recipe.schema import BudgetSettings, Recipe
from lorry.track.events import Event
from lorry.trainer import stopping
from lorry.trainer.channel import Reporter
from lorry.trainer.saving.state import State
from lorry.trainer.watched import Watched


@dataclass
class Limits:
    """The limits of one training; what ends it is told in events."""

    recipe: Recipe
    events: Reporter
    stops_by: Watched | None
    """What early stopping watches; None without it."""
    seconds: Callable[[], float]
    """What the run has taken so far, earlier attempts and loading with it."""
    was_told: bool = False
    """Whether it has been said that most of the budget is used."""
    scoring: Callable[[], float] = lambda: 0.0
    """Seconds that scoring at the end is likely to take."""

    def budget_is_used_up(self, state: State, steps: int) -> bool:
        """Whether the budget ends it now; says so once at 80 %, and at the end with what going on would cost."""
        budget, seconds = self.recipe.budget, self.seconds()
        reached = stopping.limit_reached(budget, seconds, self.scoring())
        if reached is None:
            self._warn(stopping.share_used(budget, seconds), state.step)
            return False
        if state.step < steps:
            pace = state.seconds / state.step if state.step else math.nan
            rest = stopping.cost_of_the_rest(budget, steps - state.step, pace)
            self.events.append("limit", step=state.step, message=f"{reached}; {rest}")
        return True

    def patience_is_out(self, state: State, steps: int) -> bool:
        """Whether the evaluations end it now."""
        settings = self.recipe.train.early_stop
        if settings is None or self.stops_by is None or state.step >= steps:
            return False
        told = stopping.out_of_patience(state.series(self.stops_by.name), settings, self.stops_by)
        if told:
            self.events.append("early_stop", step=state.step, message=told)
        return told is not None

    def _warn(self, share: float, step: int) -> None:
        if share >= stopping.WARN_AT and not self.was_told:
            self.was_told = True
            limits = self.recipe.budget.model_dump(mode="json")
            self.events.append(
                "budget", step=step, share=share, message=f"{share:.0%} of the limit are used", of=limits
            )


def was_warned(history: Iterable[Event], budget: BudgetSettings) -> bool:
    """Whether an earlier attempt has said that most of this budget is used; a changed one is told of anew."""
    limits = budget.model_dump(mode="json")
    return any(event.kind == "budget" and event.data.get("of") == limits for event in history)
