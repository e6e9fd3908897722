from __future__ import annotations

import pytest

from lorry.recipe.schema import TrainSettings
from lorry.trainer.schedule import learning_rate, warmup_steps


def rates(total: int, **settings) -> list[float]:
    train = TrainSettings(learning_rate=1.0, **settings)
    return [learning_rate(step, total, train) for step in range(1, total + 1)]


@pytest.mark.parametrize(("warmup", "steps"), [(0, 0), (0.1, 10), (0.015, 2), (5, 5), (500, 100)])
def test_warmup_is_a_share_below_one_and_a_number_from_one(warmup, steps):
    assert warmup_steps(warmup, 100) == steps


def test_warmup_rises_in_a_line_to_the_highest_rate():
    assert rates(10, warmup=4, schedule="constant") == [0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1, 1]


def test_linear_falls_so_that_the_next_step_would_have_none():
    assert rates(4, warmup=0, schedule="linear") == pytest.approx([1, 0.75, 0.5, 0.25])


def test_cosine_begins_at_the_highest_rate_and_passes_half_way():
    found = rates(4, warmup=0, schedule="cosine")
    assert found[0] == 1
    assert found[2] == pytest.approx(0.5)
    assert found == sorted(found, reverse=True)


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_one_step_trains_at_a_rate_above_zero(schedule):
    assert rates(1, warmup=0, schedule=schedule) == [1]
