from __future__ import annotations

import json
from typing import Any

import pytest

from lorry.recipe.changes import decided_otherwise, deciding, differences
from lorry.recipe.schema import Recipe, TrainSettings

FIXED = {"model", "data", "method", "lora"}
FREE = {"name", "evaluate", "compute", "budget", "track"}
FREE_IN_TRAIN = {
    *("steps", "epochs", "log_every", "eval_every", "save_every", "save_minutes"),
    *("keep", "keep_best", "best_by", "deliver", "early_stop", "diverge_at", "stall_minutes"),
}
FIXED_IN_TRAIN = {
    *("micro_batch", "accumulation", "learning_rate", "schedule", "warmup", "optimizer", "weight_decay"),
    *("max_grad_norm", "activation_checkpointing", "share_prefixes", "liger", "seed", "router_aux_loss_coef"),
}
OTHER_VALUES: dict[str, Any] = {
    "steps": 900,
    "epochs": 3,
    "log_every": 7,
    "eval_every": 7,
    "save_every": 7,
    "save_minutes": 0.5,
    "keep": 9,
    "keep_best": 0,
    "best_by": "exact_match",
    "deliver": "last",
    "early_stop": {},
    "diverge_at": 3,
    "stall_minutes": 90,
    "micro_batch": 2,
    "accumulation": 2,
    "learning_rate": 1e-3,
    "schedule": "linear",
    "warmup": 0,
    "optimizer": "adamw_8bit",
    "weight_decay": 0.1,
    "max_grad_norm": 0,
    "router_aux_loss_coef": 0.1,
    "activation_checkpointing": True,
    "share_prefixes": False,
    "liger": False,
    "seed": 7,
}
SECTIONS: dict[str, Any] = {
    "name": "another",
    "model": {"id": "org/tiny", "precision": "fp32"},
    "data": {"train": "rows.jsonl", "max_length": 64},
    "method": {"name": "cpt"},
    "lora": {"rank": 8},
    "evaluate": {"rows": 3, "metrics": ["exact_match"]},
    "compute": {"interruptible": "prefer"},
    "budget": {"hours": 2, "price_per_hour": 1.5},
    "track": {"sinks": ["tensorboard"]},
}


def recipe(**sections: Any) -> Recipe:
    return Recipe.model_validate({"model": {"id": "org/tiny"}, "data": {"train": "rows.jsonl"}, **sections})


def train(**settings: Any) -> Recipe:
    return recipe(train=settings)


def decide_the_same(before: Recipe, after: Recipe) -> bool:
    """Whether a checkpoint of the one is continued with the other, its `state.json` read back in between."""
    return decided_otherwise(json.loads(json.dumps(deciding(before))), deciding(after)) == []


def test_every_section_of_a_recipe_is_decided_on():
    assert set(Recipe.model_fields) == FIXED | FREE | {"train"}
    assert not FIXED & FREE


def test_every_setting_of_training_is_decided_on():
    assert set(TrainSettings.model_fields) == FREE_IN_TRAIN | FIXED_IN_TRAIN == set(OTHER_VALUES)


@pytest.mark.parametrize("section", sorted(FREE))
def test_free_section_may_change_and_keeps_what_is_learned(section: str):
    before, after = recipe(), recipe(**{section: SECTIONS[section]})
    refused, allowed = differences(before, after)
    assert (refused, bool(allowed)) == ([], True)
    assert decide_the_same(before, after)


@pytest.mark.parametrize("section", sorted(FIXED))
def test_fixed_section_may_not_change_and_decides(section: str):
    before, after = recipe(), recipe(**{section: SECTIONS[section]})
    refused, allowed = differences(before, after)
    assert (bool(refused), allowed) == (True, [])
    assert not decide_the_same(before, after)


@pytest.mark.parametrize("name", sorted(FREE_IN_TRAIN - {"steps", "epochs"}))
def test_free_setting_of_training_may_change_and_keeps_what_is_learned(name: str):
    before, after = train(), train(**{name: OTHER_VALUES[name]})
    refused, allowed = differences(before, after)
    assert (refused, len(allowed)) == ([], 1)
    assert allowed[0].startswith(f"train.{name}: ")
    assert decide_the_same(before, after)


@pytest.mark.parametrize("name", sorted(FIXED_IN_TRAIN))
def test_fixed_setting_of_training_may_not_change_and_decides(name: str):
    before, after = train(), train(**{name: OTHER_VALUES[name]})
    refused, allowed = differences(before, after)
    assert ([line.split(":")[0] for line in refused], allowed) == ([f"train.{name}"], [])
    assert not decide_the_same(before, after)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"steps": 100}, {"steps": 101}),
        ({"epochs": 1}, {"epochs": 1.5}),
        ({}, {"epochs": 3}),
        ({"epochs": 1}, {}),
        ({}, {"epochs": 1}),
    ],
)
def test_run_may_be_made_longer_and_stays_the_same_run(before: dict[str, Any], after: dict[str, Any]):
    refused, allowed = differences(train(**before), train(**after))
    assert (refused, len(allowed)) == ([], 1)
    assert decide_the_same(train(**before), train(**after))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"steps": 100}, {"steps": 99}),
        ({"epochs": 2}, {"epochs": 1.5}),
        ({"epochs": 2}, {}),
        ({}, {"epochs": 0.5}),
        ({"steps": 100}, {"epochs": 50}),
        ({"epochs": 2}, {"steps": 10_000}),
        ({}, {"steps": 10_000}),
        ({"steps": 100}, {}),
    ],
)
def test_run_is_never_made_shorter_nor_counted_otherwise(before: dict[str, Any], after: dict[str, Any]):
    refused, allowed = differences(train(**before), train(**after))
    assert refused
    assert allowed == []


def test_nothing_changed_gives_no_differences():
    assert differences(train(seed=3), train(seed=3)) == ([], [])
    assert decide_the_same(train(seed=3), train(seed=3))


def test_difference_is_told_as_a_recipe_writes_it():
    before, after = train(learning_rate=0.001, seed=1), train(learning_rate=0.0002, seed=1, keep=2)
    assert differences(before, after) == (["train.learning_rate: 0.001 -> 0.0002"], ["train.keep: 5 -> 2"])


def test_full_fine_tuning_and_an_adapter_are_different_runs():
    refused, allowed = differences(recipe(), recipe(lora=None))
    assert any(line.startswith("lora.rank: 16 -> null") for line in refused)
    assert allowed == []
    assert not decide_the_same(recipe(), recipe(lora=None))


@pytest.mark.parametrize(("given", "left_out"), [({"name": "sft", "train_on": None}, {"name": "sft"})])
def test_setting_that_is_null_is_one_that_was_not_given(given: dict[str, Any], left_out: dict[str, Any]):
    before, after = recipe(method=given), recipe(method=left_out)
    assert differences(before, after) == ([], [])
    assert decide_the_same(before, after)


def test_order_in_which_settings_are_given_does_not_matter():
    one, other = {"a": 1, "b": [1, 2]}, {"b": [1, 2], "a": 1}
    recipes = [recipe(data={"train": "rows.jsonl", "template_args": values}) for values in (one, other)]
    assert differences(*recipes) == ([], [])
    assert decide_the_same(recipes[0], recipes[1])


def test_recipe_read_back_from_json_is_the_same_run():
    before = train(learning_rate=2e-4, steps=100, early_stop={"patience": 2})
    after = Recipe.model_validate_json(before.model_dump_json())
    assert differences(before, after) == ([], [])
    assert decide_the_same(before, after)


def test_setting_that_a_newer_lorry_added_counts_as_its_default():
    part = deciding(train())
    del part["train"]["liger"]
    assert decided_otherwise(part, deciding(train())) == []
    assert decided_otherwise(part, deciding(train(liger=False))) == ["train.liger: true -> false"]


def test_setting_that_this_lorry_does_not_know_is_named():
    part = deciding(train())
    part["train"]["momentum"] = 0.9
    assert decided_otherwise(part, deciding(train()))[0].startswith("train.momentum: ")


@pytest.mark.parametrize("name", ["org/日本", "org/😀", "org/ß", "org/ss"])
def test_letters_of_every_script_decide(name: str):
    part = json.loads(json.dumps(deciding(recipe(model={"id": name}))))
    assert decided_otherwise(part, deciding(recipe())) == [f"model.id: {name} -> org/tiny"]
