from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from lorry.errors import RecipeError
from lorry.recipe.foreign_names import IN_SECTION, ONLY, TARGETS, UNUSED
from lorry.recipe.layer import Layer
from lorry.recipe.load import from_dict
from lorry.recipe.problems import section_of
from lorry.recipe.schema import EarlyStopSettings, Recipe
from lorry.recipe.translate import translate

NEEDED = {"model_name": "owner/model", "train_file": "rows.jsonl"}


def layer_of(config: Any) -> Layer:
    return translate(config, lambda name: f"config.py:{name}", "config.py")


def recipe_of(**names: Any) -> Recipe:
    return from_dict(layer_of({**NEEDED, **names}).values, Path("/base")).recipe


def refused(config: Any) -> RecipeError:
    with pytest.raises(RecipeError) as caught:
        layer_of(config)
    return caught.value


@pytest.mark.parametrize(
    "name", [*TARGETS, *(f"{part}.{name}" for part, names in IN_SECTION.items() for name in names)]
)
def test_every_foreign_name_leads_to_a_setting(name: str):
    part, _, inner = name.rpartition(".")
    section, _, key = (IN_SECTION[part][inner] if part else TARGETS[name]).path.partition(".")
    model = section_of(Recipe, section)
    assert section in Recipe.model_fields
    assert not key or section == "method" or (model is not None and key in model.model_fields)


def test_no_name_means_two_things():
    assert set(TARGETS) & (set(ONLY) | set(UNUSED)) == set()


@pytest.mark.parametrize(
    ("name", "value", "section", "key", "meant"),
    [
        ("max_steps", 500, "train", "steps", 500),
        ("num_train_epochs", 2, "train", "epochs", 2.0),
        ("per_device_train_batch_size", 4, "train", "micro_batch", 4),
        ("batch_size", 4, "train", "micro_batch", 4),
        ("gradient_accumulation_steps", 2, "train", "accumulation", 2),
        ("learning_rate", 3e-4, "train", "learning_rate", 3e-4),
        ("lr_scheduler_type", "constant_with_warmup", "train", "schedule", "constant"),
        ("warmup_ratio", 0.2, "train", "warmup", 0.2),
        ("warmup_steps", 20, "train", "warmup", 20),
        ("optim", "paged_adamw_8bit", "train", "optimizer", "adamw_8bit"),
        ("optim", "adamw_8bit", "train", "optimizer", "adamw_8bit"),
        ("optim", "adamw_torch", "train", "optimizer", "adamw"),
        ("weight_decay", 0.1, "train", "weight_decay", 0.1),
        ("max_grad_norm", 0.3, "train", "max_grad_norm", 0.3),
        ("seed", 42, "train", "seed", 42),
        ("random_state", 42, "train", "seed", 42),
        ("logging_steps", 5, "train", "log_every", 5),
        ("eval_steps", 5, "train", "eval_every", 5),
        ("save_steps", 5, "train", "save_every", 5),
        ("save_total_limit", 5, "train", "keep", 5),
        ("load_best_model_at_end", False, "train", "deliver", "last"),
        ("early_stopping_patience", 3, "train", "early_stop", EarlyStopSettings(patience=3)),
        ("gradient_checkpointing", "unsloth", "train", "activation_checkpointing", True),
        ("use_gradient_checkpointing", False, "train", "activation_checkpointing", False),
        ("r", 4, "lora", "rank", 4),
        ("lora_alpha", 8, "lora", "alpha", 8),
        ("lora_dropout", 0.1, "lora", "dropout", 0.1),
        ("target_modules", ("q_proj",), "lora", "target_modules", ["q_proj"]),
        ("target_modules", {"v", "q"}, "lora", "target_modules", ["q", "v"]),
        ("use_rslora", True, "lora", "rslora", True),
        ("use_dora", True, "lora", "dora", True),
        ("max_seq_length", 512, "data", "max_length", 512),
        ("max_length", 512, "data", "max_length", 512),
        ("packing", True, "data", "packing", True),
        ("train_subset", -1, "data", "train_subset", -1),
        ("eval_subset", 50, "data", "eval_subset", 50),
        ("test_path", Path("/t.jsonl"), "data", "test", "/t.jsonl"),
        ("load_in_4bit", True, "model", "quantization", "nf4"),
        ("load_in_8bit", True, "model", "quantization", "int8"),
        ("load_in_4bit", False, "model", "quantization", "none"),
        ("bf16", True, "model", "precision", "bf16"),
        ("fp16", True, "model", "precision", "fp16"),
        ("fp16", False, "model", "precision", "auto"),
        ("torch_dtype", "torch.bfloat16", "model", "precision", "bf16"),
        ("attn_implementation", "flash_attention_2", "model", "attention", "flash"),
        ("trust_remote_code", True, "model", "trust_remote_code", "owner/model"),
        ("trust_remote_code", False, "model", "trust_remote_code", None),
        ("budget_cap", 12.5, "budget", "usd", 12.5),
        ("per_device_eval_batch_size", 3, "evaluate", "batch_size", 3),
        ("max_new_tokens", 7, "evaluate", "max_new_tokens", 7),
    ],
)
def test_usual_name_gives_the_setting(name: str, value: Any, section: str, key: str, meant: Any):
    assert getattr(getattr(recipe_of(**{name: value}), section), key) == meant


def test_training_on_inputs_is_a_setting_of_the_method():
    assert recipe_of(train_on_inputs=True).method == {"train_on": "all", "name": "sft"}
    assert recipe_of(method="sft", assistant_only_loss=True).method == {"name": "sft", "train_on": "assistant"}


def test_names_of_grpo_are_settings_of_the_method():
    names = {"num_generations": 4, "max_completion_length": 64, "epsilon": 0.1, "epsilon_high": 0.28, "beta": 0.0}
    names |= {"num_iterations": 2, "scale_rewards": "none", "mask_truncated_completions": True, "top_k": -1}
    method = recipe_of(method="grpo", reward_funcs=["mine.py:f", "exact_match"], temperature=0.7, **names).method
    assert method == {
        "name": "grpo",
        "rewards": ["/base/mine.py:f", "exact_match"],
        "group_size": 4,
        "max_new_tokens": 64,
        "clip_range": 0.1,
        "clip_range_high": 0.28,
        "beta": 0.0,
        "epochs": 2,
        "scale_rewards": False,
        "mask_truncated": True,
        "top_k": 0,
        "temperature": 0.7,
    }


def test_names_of_ppo_are_settings_of_the_method():
    names = {"num_ppo_epochs": 2, "cliprange": 0.1, "cliprange_value": 0.3, "kl_coef": 0.1, "vf_coef": 0.5}
    method = recipe_of(
        method="ppo", reward_model_path="owner/judge", response_length=32, lam=0.9, gamma=1.0, **names
    ).method
    assert method == {
        "name": "ppo",
        "rewards": [{"name": "classifier", "model": "owner/judge"}],
        "epochs": 2,
        "max_new_tokens": 32,
        "clip_range": 0.1,
        "value_clip": 0.3,
        "kl_weight": 0.1,
        "value_weight": 0.5,
        "gae_lambda": 0.9,
        "gamma": 1.0,
    }


def test_text_field_chooses_the_format():
    assert recipe_of(dataset_text_field="content").data.format == {"name": "completion", "field": "content"}
    assert recipe_of(dataset_text_field="text").data.format == {"name": "auto"}


@pytest.mark.parametrize(
    ("given", "meant"),
    [("owner/rows", "hub:owner/rows"), ("data/x.jsonl", "/base/data/x.jsonl"), ("./rows", "/base/rows")],
)
def test_data_set_name_is_the_hubs_unless_it_is_a_file(given: str, meant: str):
    layer = layer_of({"model_name": "a/b", "dataset_name": given})
    assert from_dict(layer.values, Path("/base")).recipe.data.train == meant


def test_steps_win_over_epochs_and_it_is_said():
    layer = layer_of({**NEEDED, "num_train_epochs": 3, "max_steps": 10})
    assert layer.values["train"] == {"steps": 10}
    assert layer.warnings == [
        "config.py:max_steps: max_steps overrides num_train_epochs = 3 of config.py:num_train_epochs"
    ]


def test_epochs_count_when_steps_are_minus_one():
    assert recipe_of(num_train_epochs=3, max_steps=-1).train.epochs == 3


def test_warmup_steps_of_zero_leave_the_ratio():
    assert recipe_of(warmup_steps=0, warmup_ratio=0.1).train.warmup == 0.1
    assert recipe_of(warmup_steps=5, warmup_ratio=0.1).train.warmup == 5


def test_constant_schedule_of_transformers_has_no_warmup():
    train = recipe_of(lr_scheduler_type="constant", warmup_ratio=0.1).train
    assert (train.schedule, train.warmup) == ("constant", 0)


def test_full_fine_tuning_drops_the_adapter():
    assert recipe_of(full_finetuning=True, r=8).lora is None
    assert recipe_of(peft_config=None).lora is None


def test_two_names_that_contradict_each_other_are_refused():
    assert "`lora_rank`" in refused({**NEEDED, "lora_rank": 8, "r": 16}).message
    assert recipe_of(lora_rank=8, r=8).lora.rank == 8  # pyright: ignore[reportOptionalMemberAccess]


def test_four_and_eight_bits_at_once_are_refused():
    assert "model.quantization" in refused({**NEEDED, "load_in_4bit": True, "load_in_8bit": True}).hint


def test_unmapped_name_is_refused_with_a_suggestion():
    error = refused({**NEEDED, "learning_rte": 1})
    assert (error.place, error.hint) == ("config.py:learning_rte: learning_rte", "did you mean `learning_rate`?")


def test_all_unmapped_names_are_told_at_once():
    message = refused({**NEEDED, "wibble": 1, "wobble": None, "bias": "all"}).message
    assert all(name in message for name in ("3 problems", "wibble", "wobble", "bias"))


@pytest.mark.parametrize("name", ["name", "id", "rows"])
def test_name_that_says_too_little_outside_its_section_is_refused(name: str):
    refused({**NEEDED, "logging_config": {name: "x"}})


def test_private_names_are_left_alone():
    @dataclass
    class Config:
        model_name: str = "a/b"
        train_file: str = "x"
        wandb_project: str = "mine"
        notes: str = field(default="for me", metadata={"private": True})
        _cache: str = ""
        _private = ("wandb_project",)

    assert set(layer_of(Config()).values) == {"model", "data"}


def test_names_without_effect_are_said_aloud():
    (warning,) = layer_of({**NEEDED, "output_dir": "out"}).warnings
    assert "`output_dir` has no effect" in warning


@pytest.mark.parametrize(("name", "value"), [("bias", "none"), ("report_to", "none"), ("adam_beta2", 0.999)])
def test_names_that_mean_what_lorry_does_anyway_are_accepted(name: str, value: Any):
    assert recipe_of(**{name: value}) == recipe_of()


@pytest.mark.parametrize(("name", "value"), [("adam_beta2", 0.95), ("report_to", "wandb"), ("eval_strategy", "epoch")])
def test_names_that_would_change_something_are_refused(name: str, value: Any):
    assert "no such setting" in refused({**NEEDED, name: value}).message


def test_unknown_optimizer_is_refused_by_the_recipe():
    with pytest.raises(RecipeError, match="adafactor"):
        recipe_of(optim="adafactor")


def test_nested_parts_take_lorrys_names_and_foreign_ones():
    config = {
        "model": {"name": "a/b", "load_in_4bit": True},
        "data": {"train": "x", "max_seq_length": 99},
        "lora": {"r": 4, "alpha": 5},
        "training": {"lr": 1e-5, "keep": 2},
        "evaluate": {"rows": 3, "batch_size": 2},
        "budget": {"cap": 7},
    }
    recipe = from_dict(layer_of(config).values, Path("/base")).recipe
    assert (recipe.model.id, recipe.model.quantization, recipe.data.max_length) == ("a/b", "nf4", 99)
    assert recipe.lora is not None
    assert (recipe.lora.rank, recipe.lora.alpha, recipe.train.learning_rate, recipe.train.keep) == (4, 5, 1e-5, 2)
    assert (recipe.evaluate.rows, recipe.evaluate.batch_size, recipe.budget.usd) == (3, 2, 7)


def test_enumerations_and_pydantic_models_are_read():
    class Schedule(Enum):
        COSINE = "cosine"

    class Training(BaseModel):
        lr_scheduler_type: Schedule = Schedule.COSINE

    assert recipe_of(training_args=Training()).train.schedule == "cosine"


def test_class_in_place_of_an_object_is_made_into_one():
    @dataclass
    class Config:
        model_name: str = "a/b"

    assert layer_of(Config).values == {"model": {"id": "a/b"}}


def test_mappings_that_are_values_stay_whole():
    assert recipe_of(chat_template_kwargs={"enable_thinking": False}).data.template_args == {"enable_thinking": False}
