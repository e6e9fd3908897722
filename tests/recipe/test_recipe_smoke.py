from __future__ import annotations

from typing import Any

import pytest

from lorry.recipe.schema import Recipe
from lorry.recipe.smoke import smoke


def small(**parts: Any) -> Recipe:
    return smoke(Recipe.model_validate({"model": {"id": "a/b"}, "data": {"train": "x", "test": "t"}, **parts}))


def test_smoke_is_ten_steps_on_ten_and_five_rows():
    recipe = small(train={"epochs": 3, "log_every": 50, "eval_every": 100, "save_every": 200})
    train, data = recipe.train, recipe.data
    assert (train.steps, train.epochs) == (10, None)
    assert (train.log_every, train.eval_every, train.save_every) == (1, 5, 5)
    assert (data.train_subset, data.eval_subset, data.eval_split, data.test) == (10, 5, 5, None)


@pytest.mark.parametrize(
    ("micro", "accumulation", "expected"), [(1, 4, (1, 4)), (4, 8, (4, 2)), (64, 4, (10, 1)), (1, 64, (1, 10))]
)
def test_batch_is_at_most_the_rows(micro: int, accumulation: int, expected: tuple[int, int]):
    train = small(train={"micro_batch": micro, "accumulation": accumulation}).train
    assert (train.micro_batch, train.accumulation) == expected


@pytest.mark.parametrize(("given", "expected"), [(0.1, 0.1), (0, 0), (100, 1)])
def test_warmup_fits_ten_steps(given: float, expected: float):
    assert small(train={"warmup": given}).train.warmup == expected


def test_generation_is_at_most_five_rows_and_may_be_none():
    assert small(evaluate={"rows": 200}).evaluate.rows == 5
    assert small(evaluate={"rows": 0}).evaluate.rows == 0
    found = [small(evaluate={"rows_in_training": rows}).evaluate.rows_in_training for rows in (None, 0, 3, 50)]
    assert found == [None, 0, 3, 5]


def test_smaller_subset_and_own_evaluation_rows_are_kept():
    data = small(data={"train": "x", "eval": "e", "train_subset": 4, "eval_subset": -1, "eval_split": 0}).data
    assert (data.train_subset, data.eval_subset, data.eval, data.eval_split) == (4, 5, "e", 0)


def test_smoke_run_says_so_in_its_name():
    assert small().name == "b-lora-r16-lr2e-4-steps10-smoke"
    assert small(name="mine").name == "mine-smoke"


def test_smoke_recipe_is_a_valid_recipe_and_leaves_model_and_adapter():
    recipe = small(lora={"rank": 3, "dropout": 0.5}, data={"train": "x", "max_length": 77, "packing": True})
    assert Recipe.model_validate(recipe.model_dump()) == recipe
    assert recipe.lora is not None
    assert (recipe.lora.rank, recipe.data.max_length, recipe.data.packing) == (3, 77, True)
