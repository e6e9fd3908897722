"""When training must end before its last step."""

from __future__ import annotations

from lorry.recipe.schema import BudgetSettings


def limit_reached(budget: BudgetSettings, seconds: float) -> str | None:
    """The limit that `seconds` of training have reached, in words; None while there is none."""
    hours = seconds / 3600
    spent = hours * budget.price_per_hour
    if budget.hours is not None and hours >= budget.hours:
        return f"the limit of {budget.hours:g} hours is reached"
    if budget.usd is not None and spent >= budget.usd:
        return f"the budget of {budget.usd:g} US dollars is spent"
    return None
