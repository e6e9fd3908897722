from __future__ import annotations

import pytest

from lorry.plan import batches
from lorry.trainer.order import order_of
from subjects import row, subject

SYSTEM = {"role": "system", "content": "One line that all rows begin with, longer than a few tokens."}


def rows(count: int, *, shared: bool) -> list[dict]:
    found = [row(f"Say {number}", "x" * (number % 7 + 1)) for number in range(count)]
    return [{"messages": [SYSTEM, *one["messages"]]} for one in found] if shared else found


def counted(tmp_path, *, shares: bool, shared: bool, **train):
    one = subject(tmp_path, rows=rows(40, shared=shared), train=train, data={"eval_split": 8})
    return one, batches.tokens(one.prepared, one.recipe, one.recipe.train.micro_batch, shares=shares)


def test_tokens_of_all_passes_are_counted(tmp_path):
    one, found = counted(tmp_path, shares=False, shared=False, epochs=3, micro_batch=4)
    assert found.steps == 24
    assert found.micro_batches == 24
    assert found.rows == found.computed == 3 * one.prepared.train.tokens
    assert found.trained == pytest.approx(3 * one.prepared.train.trained_tokens, rel=0.1)
    assert found.eval_tokens == one.prepared.eval.tokens


def test_what_rows_share_is_computed_once(tmp_path):
    _, alone = counted(tmp_path, shares=False, shared=True, steps=10, micro_batch=8)
    _, together = counted(tmp_path, shares=True, shared=True, steps=10, micro_batch=8)
    assert together.rows == alone.rows
    assert together.computed < 0.6 * alone.computed
    assert together.trained == alone.trained


def test_largest_micro_batch_is_that_of_training(tmp_path):
    one, _ = counted(tmp_path, shares=False, shared=False, steps=10, micro_batch=4)
    found = batches.load(one.prepared, one.recipe, 4, shares=False)
    order = order_of(one.prepared.train, one.recipe)
    lengths = one.prepared.train.lengths
    sums = [sum(int(lengths[row]) for row in part) for step in range(1, 11) for part in order.micro_batches(step)]
    assert found.tokens == max(sums)
    assert found.answers == one.recipe.evaluate.batch_size
    assert batches.load(one.prepared, one.recipe, 1, shares=False).tokens == int(lengths.max())


def test_keys_of_a_shared_beginning_are_kept_for_each_row(tmp_path):
    one, _ = counted(tmp_path, shares=True, shared=True, steps=10, micro_batch=8)
    shared, alone = (batches.load(one.prepared, one.recipe, 8, shares=shares) for shares in (True, False))
    assert shared.tokens < alone.tokens
    assert shared.keys > shared.tokens


def test_smaller_micro_batches_are_more_of_them_and_share_less(tmp_path):
    one, whole = counted(tmp_path, shares=True, shared=True, micro_batch=8)
    parts = batches.tokens(one.prepared, one.recipe, 1, shares=True)
    assert parts.micro_batches > whole.micro_batches
    assert parts.rows == whole.rows
    assert parts.computed > whole.computed
