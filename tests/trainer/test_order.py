from __future__ import annotations

from dataclasses import replace
from itertools import chain, pairwise

import numpy as np
import pytest

from lorry.data.packing import pack
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


def tokens(found: Order, step: int, part: int) -> int:
    return int(found.lengths[found.micro_batches(step)[part]].sum())


def most_tokens(found: Order) -> int:
    """Of all micro-batches of the run, looked at one by one."""
    steps = (found.micro_batches(step) for step in range(1, found.steps + 1))
    return max(int(found.lengths[rows].sum()) for parts in steps for rows in parts)


def random_order(seed: int) -> Order:
    """An order of random sizes: odd micro-batches, partial last steps, several or parts of epochs, packed or not."""
    draw = np.random.default_rng(seed)
    lengths = draw.integers(1, 200, draw.integers(1, 60))
    length = {"steps": int(draw.integers(1, 80))} if draw.random() < 0.5 else {"epochs": float(draw.uniform(0.1, 4))}
    sizes = {"micro_batch": int(draw.integers(1, 12)), "accumulation": int(draw.integers(1, 6))}
    settings = TrainSettings(**length, **sizes, seed=seed)
    bins = pack(lengths, 256, seed=seed) if draw.random() < 0.4 else None
    return plan_order(lengths, settings, bins)


def test_heaviest_micro_batch_is_that_of_looking_at_each():
    for seed in range(200):
        found = random_order(seed)
        assert tokens(found, *found.heaviest()) == most_tokens(found), seed


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_heaviest_on_a_lower_memory_rung_is_that_of_looking_at_each(size):
    for seed in range(40):
        found = replace(random_order(seed), micro_batch=size)
        assert tokens(found, *found.heaviest()) == most_tokens(found), seed


@pytest.mark.parametrize("at", [1, 4095, 4096, 4097, 8192, 8193, 10_000])
def test_heaviest_is_found_wherever_it_lies_in_a_long_run(at):
    units = 10_000
    found = plan_order(np.ones(units, dtype=np.int64), TrainSettings(micro_batch=1, epochs=1))
    (row,) = found.micro_batches(at)[0]
    lengths = np.ones(units, dtype=np.int64)
    lengths[row] = 2
    assert replace(found, lengths=lengths).heaviest() == (at, 0)


def test_heaviest_in_the_second_epoch_of_a_long_run_is_found():
    lengths = np.random.default_rng(0).integers(1, 10_000, 4999)
    found = plan_order(lengths, TrainSettings(micro_batch=3, accumulation=2, epochs=6))
    assert found.steps > 4096
    assert tokens(found, *found.heaviest()) == most_tokens(found)


def test_heaviest_of_a_run_shorter_than_one_step_is_in_that_step():
    found = plan_order(np.array([5, 1, 9, 1]), TrainSettings(micro_batch=3, accumulation=4))
    assert found.heaviest() == (1, 1)


def test_row_longer_than_any_number_of_32_bits_is_the_heaviest():
    found = plan_order(np.array([2**40, 1, 1, 1]), TrainSettings(micro_batch=2, accumulation=2))
    assert tokens(found, *found.heaviest()) == 2**40 + 1


def test_run_made_longer_takes_every_row_as_often_as_a_long_one():
    before = order(10, micro_batch=2, accumulation=2, epochs=1)
    assert (before.steps, before.short_after(2), before.short_after(3)) == (3, 0, 2)
    after = replace(order(10, micro_batch=2, accumulation=2, epochs=3), short=before.short_after(3))
    made = [rows_of(before, step) for step in (1, 2, 3)]
    rest = [rows_of(after, step) for step in range(4, after.steps + 1)]
    assert [len(rows) for rows in rest] == [4] * 5
    assert sorted(chain.from_iterable([*made, *rest])) == sorted([*range(10)] * 3)


def test_run_made_longer_twice_still_misses_no_row():
    taken, short = [], 0
    for epochs in (0.5, 1.25, 2):
        found = replace(order(7, micro_batch=3, epochs=epochs), short=short)
        made = len(taken)
        taken += [rows_of(found, step) for step in range(made + 1, found.steps + 1)]
        short = found.short_after(found.steps)
    assert sorted(chain.from_iterable(taken)) == sorted([*range(7)] * 2)


def test_steps_of_a_number_are_never_short():
    found = order(10, micro_batch=4, steps=7)
    assert [found.short_after(step) for step in range(1, 8)] == [0] * 7


@pytest.mark.parametrize("bins", [None, [[0, 1], [2], [3, 4, 5], [6, 7, 8, 9]]])
@pytest.mark.parametrize("step", [0, 1, 4, 6, 7, 9])
def test_tokens_after_a_step_are_those_of_the_rows_to_come(step, bins, monkeypatch):
    monkeypatch.setattr("lorry.trainer.order._STEPS", 2)
    found = order(10, bins, micro_batch=2, epochs=None, steps=7)
    to_come = chain.from_iterable(rows_of(found, later) for later in range(step + 1, found.steps + 1))
    assert found.tokens_after(step) == sum(row + 1 for row in to_come)


@pytest.mark.parametrize("steps", [1, 3, 4, 10])
def test_rows_that_are_passed_over_several_times_count_as_often_as_steps_take_them(steps):
    from lorry.trainer.order import Order

    order = Order([[row] for row in range(6)], np.full(6, 10), 2, 2, 2 * -(-steps // 4), 0, passes=4, most=steps)
    assert order.steps == steps
    left = [sum(sum(order.tokens_of(step)) for step in range(done + 1, steps + 1)) for done in range(steps + 1)]
    assert [order.tokens_after(done) for done in range(steps + 1)] == left
