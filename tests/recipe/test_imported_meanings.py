"""What a configuration of another system trains there, it trains here: settings that are easily taken for another."""

from __future__ import annotations

import json
import re
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import yaml

from lorry.errors import RecipeError
from lorry.recipe.imported_text import lines, written
from lorry.recipe.importers._sheet import Fate, Field
from lorry.recipe.load import imported, load
from lorry.recipe.schema import Recipe

AXOLOTL: dict[str, Any] = {
    "base_model": "owner/model",
    "datasets": [{"path": "rows.jsonl", "type": "chat_template"}],
    "adapter": "lora",
    "lora_r": 8,
    "lora_alpha": 16,
    "lora_target_linear": True,
    "num_epochs": 1,
    "learning_rate": 1e-4,
}
PAIRS: dict[str, Any] = {**AXOLOTL, "datasets": [{"path": "rows.jsonl", "type": "chatml.intel"}]}
FACTORY: dict[str, Any] = {
    "model_name_or_path": "owner/model",
    "stage": "sft",
    "dataset": "identity",
    "lora_target": "all",
}


@pytest.fixture(autouse=True)
def at_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    book({"identity": {"file_name": "identity.json"}})


def book(described: Any) -> None:
    Path("data/dataset_info.json").write_text(json.dumps(described), encoding="utf-8")


def saved(values: dict[str, Any]) -> Path:
    file = Path("config.yml")
    file.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return file


def recipe(values: dict[str, Any]) -> Recipe:
    return load(saved(values)).recipe


def field(values: dict[str, Any], name: str) -> Field:
    (found,) = [one for one in load(saved(values)).imported[0].fields if one.name == name]
    return found


def fails(values: dict[str, Any]) -> str:
    with pytest.raises(RecipeError) as caught:
        load(saved(values))
    return f"{caught.value.place}: {caught.value.message} | {caught.value.hint}"


# --- warm-up


@pytest.mark.parametrize(
    ("given", "in_axolotl", "in_factory"),
    [
        ({"warmup_steps": 0}, 0, 0),
        ({"warmup_ratio": 0}, 0, 0),
        ({"warmup_ratio": "0.0"}, 0, 0),
        ({"warmup_steps": 0, "warmup_ratio": 0.1}, 0, 0.1),
        ({"warmup_steps": 7, "warmup_ratio": 0.1}, 7, 7),
        ({"warmup_steps": None, "warmup_ratio": 0.2}, 0.2, 0.2),
        ({}, 0.03, 0),
    ],
)
def test_warmup_is_that_of_the_system_with_0_as_well(given: dict[str, Any], in_axolotl: float, in_factory: float):
    assert recipe({**AXOLOTL, **given}).train.warmup == in_axolotl
    assert recipe({**FACTORY, **given}).train.warmup == in_factory


def test_warmup_of_0_is_told_as_a_setting():
    assert field({**FACTORY, "warmup_ratio": 0}, "warmup_ratio").fate is Fate.TRANSLATED
    assert "train:\n" in written(load(saved({**AXOLOTL, "warmup_steps": 0})).imported[0])


@pytest.mark.parametrize(("steps", "warmup"), [(20, 0), (1000, 30), (10_000, 100)])
def test_axolotls_own_warmup_ends_after_100_steps(steps: int, warmup: int):
    assert recipe({**AXOLOTL, "max_steps": steps}).train.warmup == warmup


def test_cap_of_axolotls_own_warmup_is_told_where_steps_are_not_known():
    assert "100 at most" in field(AXOLOTL, "num_epochs").why
    assert field({**AXOLOTL, "warmup_steps": 5}, "num_epochs").why == ""


# --- preferences


@pytest.mark.parametrize("rl", ["dpo", "ipo", "kto", "simpo", "orpo"])
@pytest.mark.parametrize(
    ("given", "beta"),
    [
        ({"trl": {"beta": 0.3}}, 0.3),
        ({"rl_beta": 0.3}, 0.3),
        ({"orpo_alpha": 0.3}, 0.3),
        ({"trl": {"beta": 0.3}, "rl_beta": 0.2, "orpo_alpha": 0.1}, 0.3),
        ({"trl": {"beta": None}, "rl_beta": 0.2, "orpo_alpha": 0.4}, 0.2),
        ({}, 0.1),
    ],
)
def test_beta_of_axolotl_is_the_first_that_is_given(rl: str, given: dict[str, Any], beta: float):
    plain = {"cpo_alpha": 0} if rl == "simpo" else {}
    method: Any = recipe({**PAIRS, "rl": rl, **plain, **given}).method
    assert method.get("beta", 0.1) == beta


def test_beta_that_does_not_count_is_told_with_the_one_that_does():
    told = field({**PAIRS, "rl": "dpo", "trl": {"beta": 0.3}, "rl_beta": 0.2}, "rl_beta")
    assert (told.fate, told.why) == (Fate.NO_EFFECT, "`trl.beta` counts")


def test_other_fields_of_trl_are_told_one_by_one():
    values = {**PAIRS, "rl": "dpo", "trl": {"beta": 0.3, "num_generations": 4}}
    assert field(values, "trl.num_generations").why == "belongs to GRPO"
    assert "trl.bata: Axolotl has no such field" in fails({**values, "trl": {"bata": 0.3}})


@pytest.mark.parametrize("loss", ["sigmoid", "hinge", "ipo", "orpo", "simpo"])
def test_likelihood_in_llama_factorys_loss_is_refused_for_every_loss(loss: str):
    book({"identity": {"file_name": "identity.json", "ranking": True, "columns": _PAIRED}})
    values = {**FACTORY, "stage": "dpo", "pref_loss": loss}
    assert "pref_ftx: 0.5: lorry's preference methods have no such term" in fails({**values, "pref_ftx": 0.5})
    assert field({**values, "pref_ftx": 0.0}, "pref_ftx").fate is Fate.NO_EFFECT


def test_likelihood_in_llama_factorys_kto_is_refused():
    book({"identity": {"file_name": "identity.json", "columns": {"prompt": "a", "response": "b", "kto_tag": "c"}}})
    assert "pref_ftx: 0.5" in fails({**FACTORY, "stage": "kto", "pref_ftx": 0.5})


_PAIRED = {"prompt": "instruction", "chosen": "chosen", "rejected": "rejected"}


# --- tools


@pytest.mark.parametrize(
    ("stage", "more"),
    [("sft", {}), ("dpo", {"chosen": "chosen", "rejected": "rejected"}), ("kto", {"kto_tag": "kto_tag"})],
)
def test_tools_of_llama_factorys_alpaca_rows_are_read_where_they_are_named(stage: str, more: dict[str, str]):
    for columns, expected in (({"tools": "functions"}, "functions"), ({}, None)):
        described = {"file_name": "identity.json", "columns": {"prompt": "instruction", **more, **columns}}
        book({"identity": {**described, "ranking": stage == "dpo"}})
        source: Any = recipe({**FACTORY, "stage": stage}).data.train
        assert source.columns["tools"] == expected


# --- mixtures of experts


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, 0), ({"moe_aux_loss_coef": None}, 0), ({"moe_aux_loss_coef": 0.002}, 0.002), ({"moe_aux_loss_coef": 0}, 0)],
)
def test_experts_are_evened_as_llama_factory_does(given: dict[str, Any], expected: float):
    assert recipe({**FACTORY, **given}).train.router_aux_loss_coef == expected


@pytest.mark.parametrize("part", ["model_config", "overrides_of_model_config"])
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"output_router_logits": True}, None),
        ({"output_router_logits": True, "router_aux_loss_coef": 0.02}, 0.02),
        ({"output_router_logits": False, "router_aux_loss_coef": 0.02}, 0),
        ({"router_aux_loss_coef": 0.02}, 0),
        ({}, 0),
    ],
)
def test_experts_are_evened_as_axolotl_does(part: str, given: dict[str, Any], expected: float | None):
    assert recipe({**AXOLOTL, part: given}).train.router_aux_loss_coef == expected


def test_other_settings_of_a_model_are_refused_by_name():
    told = fails({**AXOLOTL, "model_config": {"output_router_logits": True, "rope_scaling": {"factor": 2}}})
    assert "model_config.rope_scaling: " in told


def test_experts_that_no_adapter_lies_on_are_told():
    assert "experts" in field(AXOLOTL, "lora_target_linear").why
    assert "experts" in field(FACTORY, "lora_target").why


# --- chat templates


@pytest.mark.parametrize(
    ("template", "model"),
    [
        ("llama3", "NousResearch/Hermes-3-Llama-3.1-8B"),
        ("llama3", "somebody/Llama-3.1-8B-Storyteller"),
        ("llama3", "deepseek-ai/DeepSeek-R1-Distill-Llama-8B"),
        ("qwen", "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"),
        ("mistral", "teknium/OpenHermes-2.5-Mistral-7B"),
        ("llama3", "unsloth/Hermes-3-Llama-3.1-8B"),
    ],
)
def test_template_of_a_family_is_not_taken_for_that_of_models_trained_from_it(template: str, model: str):
    told = fails({**FACTORY, "model_name_or_path": model, "template": template})
    assert f"`{model}` is not known to come with it" in told
    assert "given as Jinja in `data.chat_template`" in told
    assert "--leave-out" in told


@pytest.mark.parametrize(
    ("template", "model"),
    [
        ("llama3", "unsloth/Llama-3.2-1B-Instruct-bnb-4bit"),
        ("llama3", "unsloth/Meta-Llama-3.1-8B-Instruct"),
        ("qwen3", "unsloth/Qwen3-8B"),
        ("smollm", "HuggingFaceTB/SmolLM2-135M-Instruct"),
        ("gemma3", "google/gemma-3-1b-it"),
    ],
)
def test_template_of_publishers_and_mirrors_is_the_models_own(template: str, model: str):
    told = field({**FACTORY, "model_name_or_path": model, "template": template}, "template")
    assert told.fate is Fate.TRANSLATED


def test_folder_of_a_model_trained_from_another_does_not_tell_its_template():
    Path("Hermes-3-Llama-3.1-8B").mkdir()
    Path("Hermes-3-Llama-3.1-8B/config.json").write_text('{"model_type": "llama"}')
    told = fails({**FACTORY, "model_name_or_path": "Hermes-3-Llama-3.1-8B", "template": "llama3"})
    assert "is not known to come with it" in told


# --- secrets


@pytest.mark.parametrize("values", [AXOLOTL, FACTORY], ids=["axolotl", "llamafactory"])
@pytest.mark.parametrize(
    "given",
    [
        {"huggingface_token": "not-for-anybody"},
        {"hub_token": "not-for-anybody"},
        {"comet_api_key": "not-for-anybody"},
        {"deep": {"my_secret": {"first": "not-for-anybody"}}},
        {"list": [{"db_password": "not-for-anybody"}]},
        {"mlflow_tracking_uri": "https://user:not-for-anybody@tracking.example.com/of/a/long/path/behind/it"},
        {"run_note": "wandb_v1_not_for_anybody_not_for_anybody_not_for_anybody_not_for_anybody"},
    ],
    ids=lambda given: next(iter(given)),
)
def test_secrets_are_nowhere_told_nor_written(values: dict[str, Any], given: dict[str, Any]):
    file = saved({**values, **given})
    found = imported(file, leaving_out=True)
    told = "\n".join([written(found), *lines(found), *map(str, found.fields)])
    with pytest.raises(RecipeError) if found.left_out else nullcontext() as caught:
        load(file)
    for text in (told, str(caught and caught.value), str(caught and caught.value.hint)):
        assert not re.search("not.for.anybody", text)
    assert "***" in told


@pytest.mark.parametrize("key", ["pad_token", "eos_token", "bos_token", "unk_token"])
def test_tokens_of_text_are_no_secrets(key: str):
    found = imported(saved({**AXOLOTL, "special_tokens": {key: "<|end|>"}}), leaving_out=True)
    assert f"special_tokens.{key}: <|end|>" in written(found)


# --- targets and precision


@pytest.mark.parametrize("name", ["embed_tokens", "lm_head", "model.embed_tokens", "wte", "embed_out"])
def test_embeddings_beside_all_linear_are_refused(name: str):
    told = fails({**AXOLOTL, "lora_target_modules": ["q_proj", name]})
    assert "lora_target_modules: " in told
    assert f"does not: {name}" in told


@pytest.mark.parametrize("names", [None, [], "q_proj", ["q_proj", "output_proj", "gate_up_proj"]])
def test_linear_modules_beside_all_linear_are_among_them(names: Any):
    lora = recipe({**AXOLOTL, "lora_target_modules": names}).lora
    assert lora is not None
    assert lora.target_modules == "all-linear"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"bf16": False, "fp16": False}, "fp32"),
        ({"bf16": "no"}, "fp32"),
        ({"bf16": False, "fp16": None, "load_in_4bit": True}, "fp32"),
        ({"bf16": False, "fp16": True}, "fp16"),
        ({"bf16": False, "bfloat16": True}, "bf16"),
        ({"bf16": False, "load_in_8bit": True}, "auto"),
        ({"bf16": True, "fp16": False}, "bf16"),
        ({"bf16": "auto"}, "auto"),
        ({"fp16": False}, "auto"),
        ({}, "auto"),
    ],
)
def test_precision_without_16_bits_is_that_of_axolotl(given: dict[str, Any], expected: str):
    assert recipe({**AXOLOTL, **given}).model.precision == expected
