from __future__ import annotations

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig

from lorry.errors import ModelError
from lorry.recipe.schema import Recipe
from lorry.trainer.model import LoadedModel, load, put_adapter
from lorry.trainer.optimizer import make_optimizer
from model_folders import save_model
from tiny_models import tiny_model


def loaded_model(folder, config=None, **sections) -> LoadedModel:
    path = save_model(folder / "model", **(config or {}))
    return load(Recipe.model_validate({"model": {"id": str(path)}, "data": {"train": "x"}, **sections}), path)


def test_norms_do_not_decay_towards_zero(tmp_path):
    loaded = loaded_model(tmp_path, lora=None, train={"weight_decay": 0.1})
    groups = make_optimizer(loaded, Recipe.model_validate(SETTINGS).train)[0].param_groups
    found = {parameter.dim(): group["weight_decay"] for group in groups for parameter in group["params"]}
    assert found == {2: 0.1, 1: 0.0}


SETTINGS = {"model": {"id": "x"}, "data": {"train": "x"}, "train": {"weight_decay": 0.1}}


@pytest.mark.parametrize(
    ("config", "lora", "drops"),
    [({}, {}, False), ({}, {"dropout": 0.1}, True), ({"attention_dropout": 0.1}, {}, True)],
)
def test_dropout_of_adapter_or_model_is_known(tmp_path, config, lora, drops):
    assert loaded_model(tmp_path, config, lora=lora).drops is drops


def test_adapter_is_put_into_the_model_that_is_loaded(tmp_path):
    first, second = (loaded_model(tmp_path, lora={"rank": 2}, train={"seed": seed}) for seed in (0, 1))
    first.model.save_pretrained(tmp_path / "adapter")
    put_adapter(second, tmp_path / "adapter")
    for one, other in zip(first.trained_parameters(), second.trained_parameters(), strict=True):
        assert torch.equal(one, other)


def test_adapter_of_other_modules_has_no_place(tmp_path):
    loaded_model(tmp_path, lora={"target_modules": ["q_proj", "o_proj"]}).model.save_pretrained(tmp_path / "adapter")
    with pytest.raises(ModelError, match="o_proj"):
        put_adapter(loaded_model(tmp_path, lora={"target_modules": ["q_proj"]}), tmp_path / "adapter")


def saved(folder, kind, **changes) -> Recipe:
    tiny_model(kind, "eager", **changes).save_pretrained(folder)
    return Recipe.model_validate({"model": {"id": str(folder)}, "data": {"train": "x"}})


@pytest.mark.parametrize("method", ["sft", "reward"])
def test_model_that_comes_quantised_is_loaded_as_it_is(method, tmp_path):
    wide = AutoConfig.from_pretrained(save_model(tmp_path / "small"), hidden_size=64, intermediate_size=128)
    AutoModelForCausalLM.from_config(wide).save_pretrained(tmp_path / "wide")
    four_bits = BitsAndBytesConfig(load_in_4bit=True)
    quantised = AutoModelForCausalLM.from_pretrained(tmp_path / "wide", quantization_config=four_bits)
    quantised.save_pretrained(tmp_path / "model")
    recipe = {"model": {"id": str(tmp_path / "model")}, "data": {"train": "x"}, "method": method}
    loaded = load(Recipe.model_validate(recipe), tmp_path / "model")
    kinds = {type(module.base_layer).__name__ for module in loaded.model.modules() if hasattr(module, "base_layer")}
    assert kinds == {"Linear4bit"}


def test_architecture_without_sdpa_is_loaded_with_what_it_has(tmp_path):
    loaded = load(saved(tmp_path, "gemma2"), tmp_path)
    assert loaded.forward.way == "padded"


def test_architecture_whose_logits_are_made_in_another_way_is_refused(tmp_path):
    # HyperCLOVA X's own code knows no cap, lorry's head reads it from the configuration.
    with pytest.raises(ModelError, match="cannot train a `hyperclovax` model"):
        load(saved(tmp_path, "hyperclovax", final_logit_softcapping=0.1), tmp_path)
