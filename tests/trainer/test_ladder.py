from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest

from lorry.recipe.schema import Recipe, TrainSettings
from lorry.trainer.ladder import Rung, Where, next_rung
from lorry.trainer.order import plan_order

SIZES = [
    (micro, accumulation) for micro in (*range(1, 34), 63, 64, 65, 97, 256) for accumulation in (1, 2, 3, 4, 7, 16)
]


def rung(
    micro: int = 8, accumulation: int = 1, *, twice: bool = False, evaluated: int = 16, answered: int = 16
) -> Rung:
    return Rung(micro, accumulation, twice, evaluated, answered)


def way_down(where: Where, start: Rung, *, can_checkpoint: bool = True) -> list[Rung]:
    """All rungs from `start` to the last one."""
    found = [start]
    while (lower := next_rung(where, found[-1], can_checkpoint=can_checkpoint)) is not None:
        found.append(lower)
        assert len(found) < 100
    return found


def recipe(**sections) -> Recipe:
    return Recipe.model_validate({"model": {"id": "org/tiny"}, "data": {"train": "rows.jsonl"}, **sections})


def test_step_keeps_its_rows_on_every_rung():
    for micro, accumulation in SIZES:
        found = way_down("training", rung(micro, accumulation))
        assert {one.micro_batch * one.accumulation for one in found} == {micro * accumulation}


def test_training_ends_with_single_rows_whose_activations_are_computed_twice():
    for micro, accumulation in SIZES:
        *_, last = way_down("training", rung(micro, accumulation))
        assert last == rung(1, micro * accumulation, twice=True)


def test_each_rung_computes_at_most_half_as_many_rows_at_once():
    for micro, accumulation in SIZES:
        sizes = [one.micro_batch for one in way_down("training", rung(micro, accumulation))[:-1]]
        assert all(lower <= (size + 1) // 2 for size, lower in pairwise(sizes))


def test_sizes_that_are_powers_of_two_are_halved():
    sizes = [one.micro_batch for one in way_down("training", rung(64, 3))]
    assert sizes == [64, 32, 16, 8, 4, 2, 1, 1]


@pytest.mark.parametrize(("micro", "accumulation"), [(8, 1), (7, 1), (12, 5), (9, 4), (1, 3)])
def test_order_of_rows_has_as_many_micro_batches_as_the_rung_says(micro, accumulation):
    rows = micro * accumulation
    for one in way_down("training", rung(micro, accumulation)):
        settings = TrainSettings(micro_batch=one.micro_batch, accumulation=one.accumulation, steps=2)
        parts = plan_order(np.arange(1, 1000), settings).micro_batches(2)
        assert [len(part) for part in parts] == [one.micro_batch] * one.accumulation
        assert sum(map(len, parts)) == rows


def test_model_that_cannot_compute_activations_twice_ends_with_single_rows():
    *_, last = way_down("training", rung(8), can_checkpoint=False)
    assert last == rung(1, 8)


def test_activations_that_are_computed_twice_from_the_start_stay_so():
    found = way_down("training", rung(4, twice=True))
    assert [(one.micro_batch, one.activation_checkpointing) for one in found] == [(4, True), (2, True), (1, True)]


def test_evaluation_lowers_only_what_it_evaluates_at_once():
    found = way_down("evaluating", rung(evaluated=11))
    assert found == [rung(evaluated=size) for size in (11, 5, 2, 1)]


def test_generation_lowers_only_what_it_answers_at_once():
    found = way_down("generating", rung(answered=6))
    assert found == [rung(answered=size) for size in (6, 3, 1)]


def test_training_leaves_evaluation_and_generation_alone():
    assert {(one.eval_batch, one.generation_batch) for one in way_down("training", rung(32))} == {(16, 16)}


@pytest.mark.parametrize(("micro", "answered", "evaluated"), [(8, 16, 16), (32, 16, 32)])
def test_recipe_begins_at_the_top_with_the_larger_batch_for_evaluation(micro, answered, evaluated):
    settings = {"micro_batch": micro, "accumulation": 3, "activation_checkpointing": True}
    found = Rung.top(recipe(train=settings, evaluate={"batch_size": answered}))
    assert found == rung(micro, 3, twice=True, evaluated=evaluated, answered=answered)


def test_rung_goes_through_json_and_back():
    for one in way_down("training", rung(6)):
        assert Rung(**json.loads(json.dumps(one.as_dict()))) == one


def test_rung_is_told_in_words():
    told = rung(2, 4, twice=True, evaluated=8, answered=1).told()
    assert told == "micro-batches of 2, 4 a step, activations computed twice; 8 evaluated and 1 answered at once"
    assert "twice" not in rung().told()
