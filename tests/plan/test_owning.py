"""A computer of one's own."""

from __future__ import annotations

import pytest

from lorry.errors import InputError
from lorry.plan.owning import Power


@pytest.mark.parametrize("wrong", [-0.1, float("nan"), float("inf"), 1e300])
def test_power_that_cannot_be_is_refused(wrong: float):
    with pytest.raises(InputError, match="per kWh"):
        Power(usd_per_kwh=wrong)
    with pytest.raises(InputError, match="watts"):
        Power(watts=wrong * 10)


def test_power_may_cost_nothing():
    assert Power(0.0, 0.0).watts == 0
