"""Reasons to end training before its last step: no improvement, divergence, a budget. Pure, from what was recorded."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median

from lorry import units
from lorry.recipe.schema import BudgetSettings, EarlyStopSettings
from lorry.trainer.watched import Watched

WINDOW = 50
"""Steps of which the running median is taken."""
_ENOUGH = 10
"""Losses before which their median says nothing."""
_AT_LEAST = 1.0
"""Nats by which a loss must exceed the median as well: a model that knows its rows by heart has a median near zero."""
WARN_AT = 0.8
"""Share of a limit at which it is announced."""


def out_of_patience(scores: Mapping[int, float], settings: EarlyStopSettings, watched: Watched) -> str | None:
    """Why the evaluations so far (what is watched, by step) end the training, in words; None while they do not.

    The score must improve on the best one by more than `min_delta`; what is no number, or infinite, never does.
    """
    sign = 1.0 if watched.higher_is_better else -1.0
    best, best_step, waited = -math.inf, 0, 0
    for step in sorted(scores):
        value = sign * scores[step]
        if math.isfinite(value) and value > best + settings.min_delta:
            best, best_step, waited = value, step, 0
        else:
            waited += 1
        if waited >= settings.patience:
            best_one = f"best at step {best_step}" if best_step else "none was a number"
            return f"{watched.name} has not improved for {waited} evaluations ({best_one})"
    return None


def divergence(loss: float, recent: Sequence[float], multiple: float) -> str | None:
    """Why a step's loss counts as divergence, in words; None where it does not. `recent` are the losses before it."""
    if not math.isfinite(loss):
        return "the loss is not a number"
    if not multiple or len(recent) < _ENOUGH:
        return None
    middle = median(recent[-WINDOW:])
    if loss > multiple * abs(middle) and loss - middle > _AT_LEAST:
        return f"the loss of {loss:.4g} is more than {multiple:g} times its running median of {middle:.4g}"
    return None


def limit_reached(budget: BudgetSettings, seconds: float, scoring: float = 0.0) -> str | None:
    """The limit that `seconds` of the run have reached, in words; None while there is none.

    Seconds that `scoring` at its end will take are kept back, up to half of the limit: an adapter without scores is worth
    little, and so are scores of one that was hardly trained.
    """
    kept = f", with {units.duration(scoring)} kept for scoring" if scoring else ""
    if budget.hours is not None and _is_up(seconds, 3600 * budget.hours, scoring):
        return f"the limit of {budget.hours:g} hours is reached{kept}"
    if budget.usd is not None and _is_up(
        budget.price_per_hour * seconds, 3600 * budget.usd, budget.price_per_hour * scoring
    ):
        return f"the budget of {budget.usd:g} US dollars is spent{kept}"
    return None


def _is_up(used: float, limit: float, scoring: float) -> bool:
    return used >= limit - min(scoring, limit / 2)


def share_used(budget: BudgetSettings, seconds: float) -> float:
    """The share of the tighter limit that is used, from 0; 0 where there is none."""
    hours = seconds / 3600
    shares = [hours / budget.hours] if budget.hours is not None else []
    shares += [hours * budget.price_per_hour / budget.usd] if budget.usd is not None else []
    return max(shares, default=0.0)


def cost_of_the_rest(budget: BudgetSettings, steps: int, seconds_per_step: float) -> str:
    """What finishing the remaining steps would take, in words."""
    hours = steps * seconds_per_step / 3600
    money = f" and {hours * budget.price_per_hour:.2f} US dollars" if budget.price_per_hour else ""
    return f"the other {steps:,} steps would take about {hours:.2f} hours{money}"
