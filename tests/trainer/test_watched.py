"""What is watched, from the recipe alone."""

from __future__ import annotations

import math
from typing import Any

import pytest

from lorry.errors import RecipeError
from lorry.recipe.schema import Recipe
from lorry.trainer.watched import Watched, best_as_known, best_by, given, rows_answered, stops_by

ANSWERED = {"metrics": ["exact_match", "dangerous_command"], "rows": 30}


def recipe(method: str | dict[str, Any] = "sft", **sections: Any) -> Recipe:
    values = {"model": {"id": "org/tiny"}, "data": {"train": "rows.jsonl"}, "method": method, **sections}
    return Recipe.model_validate(values)


def test_loss_is_watched_unless_the_recipe_says_otherwise():
    assert best_by(recipe()) == Watched("loss", higher_is_better=False)
    assert stops_by(recipe()) is None
    assert stops_by(recipe(train={"early_stop": {}})) == Watched()


def test_methods_that_learn_from_the_models_answers_go_by_reward_and_answer_for_it():
    rewards = ["exact_match", {"name": "metric", "metric": "dangerous_command", "weight": -1}]
    learning = recipe({"name": "grpo", "rewards": rewards})
    assert best_by(learning) == Watched("reward", higher_is_better=True)
    assert "loss" not in given(learning)
    assert rows_answered(learning) == learning.evaluate.rows
    unwanted = recipe({"name": "grpo", "rewards": rewards}, train={"best_by": "reward_dangerous_command"})
    assert best_by(unwanted) == Watched("reward_dangerous_command", higher_is_better=False)


def test_early_stopping_watches_what_makes_a_step_the_best_or_what_it_names():
    train = {"best_by": "reward_accuracy", "early_stop": {}}
    assert stops_by(recipe("dpo", train=train)) == Watched("reward_accuracy", higher_is_better=True)
    assert stops_by(recipe("dpo", train={**train, "early_stop": {"metric": "loss"}})) == Watched()


@pytest.mark.parametrize(
    ("method", "name", "higher"),
    [
        ("dpo", "reward_rejected", False),
        ("kto", "kl", False),
        ("orpo", "reward_margin", True),
        ("sft", "exact_match", True),
        ("dpo", "dangerous_command", False),
    ],
)
def test_direction_is_that_of_the_method_or_the_metric(method, name, higher):
    assert best_by(recipe(method, train={"best_by": name}, evaluate=ANSWERED)) == Watched(name, higher)


@pytest.mark.parametrize("place", ["train.best_by", "train.early_stop.metric"])
def test_name_that_is_not_given_is_refused_with_those_that_are(place):
    train = {"best_by": "kl"} if place == "train.best_by" else {"early_stop": {"metric": "kl"}}
    with pytest.raises(RecipeError, match="do not give `kl`") as raised:
        stops_by(recipe("dpo", train={"early_stop": {}, **train}))
    assert raised.value.place == place
    assert "loss, reward_chosen, reward_rejected, reward_margin, reward_accuracy" in raised.value.hint


@pytest.mark.parametrize("evaluate", [{"rows_in_training": 0}, {"rows": 0}])
def test_metric_for_which_nothing_is_answered_is_refused(evaluate):
    with pytest.raises(RecipeError, match="do not give `exact_match`") as raised:
        best_by(recipe(train={"best_by": "exact_match"}, evaluate={**ANSWERED, **evaluate}))
    assert "rows_in_training" in raised.value.hint


@pytest.mark.parametrize(
    ("train", "evaluate", "rows"),
    [
        ({}, {}, 0),
        ({"best_by": "exact_match"}, {}, 30),
        ({"early_stop": {"metric": "exact_match"}}, {}, 30),
        ({"best_by": "exact_match"}, {"rows_in_training": 7}, 7),
        ({}, {"rows_in_training": 7}, 7),
        ({}, {"rows_in_training": 7, "metrics": []}, 0),
    ],
)
def test_answers_are_made_where_a_metric_is_watched_or_the_recipe_says_so(train, evaluate, rows):
    assert rows_answered(recipe(train=train, evaluate={**ANSWERED, **evaluate})) == rows


def test_raw_text_asks_nothing():
    asked = recipe("cpt", evaluate={**ANSWERED, "rows_in_training": 7})
    assert (rows_answered(asked), given(asked)) == (0, ["loss"])


def test_best_are_those_that_were_scored_in_the_order_of_their_direction():
    scores = {10: {"loss": 1.0}, 20: {"loss": 3.0, "kl": 0.5}, 30: {"kl": math.nan}, 40: {"kl": 0.1, "loss": None}}
    assert Watched("kl").best_first(scores) == [40, 20]
    assert Watched("kl", higher_is_better=True).best_first(scores) == [20, 40]
    assert Watched().best_first(scores) == [10, 20]
    assert Watched("other").best_first(scores) == []
    assert Watched().is_best(10, scores)
    assert not Watched().is_best(40, scores)


@pytest.mark.parametrize("found", [{}, {"model": 3}, {"method": {"name": "gone"}}, {"train": {"best_by": "gone"}}])
def test_recipe_that_cannot_be_understood_goes_by_the_loss(found):
    whole = recipe().model_dump(mode="json")
    assert best_as_known({**whole, **found} if found else {}) == Watched()


def test_recipe_of_an_older_run_goes_by_the_loss():
    found = recipe(train={"early_stop": {"metric": "loss"}}).model_dump(mode="json")
    del found["train"]["best_by"], found["evaluate"]["rows_in_training"]
    assert best_as_known(found) == Watched()
