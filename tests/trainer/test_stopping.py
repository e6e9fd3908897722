from __future__ import annotations

import pytest

from lorry.recipe.schema import BudgetSettings
from lorry.trainer.stopping import limit_reached


@pytest.mark.parametrize(
    ("budget", "seconds", "said"),
    [
        ({}, 1e9, None),
        ({"hours": 1}, 3599, None),
        ({"hours": 1}, 3600, "1 hours"),
        ({"usd": 2, "price_per_hour": 4}, 1799, None),
        ({"usd": 2, "price_per_hour": 4}, 1800, "2 US dollars"),
        ({"usd": 2}, 1e9, None),
    ],
)
def test_limit_is_reached_at_its_value(budget, seconds, said):
    found = limit_reached(BudgetSettings(**budget), seconds)
    assert (said in found) if said else found is None
