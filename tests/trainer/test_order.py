from __future__ import annotations

from itertools import chain, pairwise

import numpy as np

from lorry.recipe.schema import TrainSettings
from lorry.trainer.order import Order, plan_order


def order(rows: int = 10, bins: list[list[int]] | None = None, **settings) -> Order:
    return plan_order(np.arange(1, rows + 1), TrainSettings(**settings), bins)


def rows_of(found: Order, step: int) -> list[int]:
    return list(chain.from_iterable(found.micro_batches(step)))


def test_one_epoch_takes_every_row_once():
    found = order(10, micro_batch=2, accumulation=2)
    assert found.steps == 3
    assert sorted(chain.from_iterable(rows_of(found, step) for step in (1, 2, 3))) == list(range(10))


def test_steps_run_over_the_end_of_an_epoch_with_full_batches():
    found = order(10, micro_batch=4, steps=5)
    assert [len(rows_of(found, step)) for step in range(1, 6)] == [4] * 5


def test_half_an_epoch_takes_half_the_rows():
    found = order(10, micro_batch=1, epochs=0.5)
    assert found.steps == 5


def test_any_step_can_be_computed_again_alone():
    forward = [order(50, steps=30).micro_batches(step) for step in range(1, 31)]
    backward = [order(50, steps=30).micro_batches(step) for step in range(30, 0, -1)]
    assert forward == backward[::-1]


def test_epochs_and_seeds_shuffle_differently():
    found = order(20, micro_batch=20, steps=2)
    assert set(rows_of(found, 1)) == set(rows_of(found, 2))
    seeded = [order(20, micro_batch=5, steps=1, seed=seed).micro_batches(1) for seed in (0, 1)]
    assert seeded[0] != seeded[1]


def test_micro_batches_of_a_step_hold_rows_of_like_length():
    parts = order(64, micro_batch=8, accumulation=8).micro_batches(1)
    assert all(max(one) < min(other) for one, other in pairwise(parts))


def test_packed_sequences_stay_together():
    found = order(4, bins=[[0, 3], [1, 2]], micro_batch=1)
    assert {tuple(found.micro_batches(step)[0]) for step in (1, 2)} == {(0, 3), (1, 2)}
