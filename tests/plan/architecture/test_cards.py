"""The cards that come with lorry: dated, sourced, and of the sizes that were published."""

from __future__ import annotations

from datetime import date

import pytest

from lorry.plan.adapter_size import adapter_parameters, parameters
from lorry.plan.architecture.blueprint import blueprint
from lorry.plan.architecture.cards import card, known
from lorry.plan.architecture.model_shape import ModelShape, model_shape
from lorry.recipe.schema import LoraSettings

PUBLISHED = {
    "Qwen/Qwen2.5-7B": 7_615_616_512,
    "Qwen/Qwen3-30B-A3B": 30_532_122_624,
    "HuggingFaceTB/SmolLM2-135M": 134_515_008,
    "meta-llama/Llama-3.1-8B": 8_030_261_248,
    "meta-llama/Llama-3.2-1B": 1_235_814_400,
    "mistralai/Mistral-7B-v0.3": 7_248_023_552,
    "mistralai/Mixtral-8x7B-v0.1": 46_702_792_704,
}


def shape(model_id: str) -> ModelShape:
    found = card(model_id)
    assert found is not None
    made = model_shape(found["config"])
    assert made is not None
    return made


@pytest.mark.parametrize("model_id", known())
def test_blueprint_has_as_many_parameters_as_were_published(model_id: str):
    found = card(model_id)
    assert found is not None
    assert parameters(blueprint(found["config"]) or {}) == found["parameters"]
    assert shape(model_id).parameters == found["parameters"]


@pytest.mark.parametrize("model_id", known())
def test_card_says_where_it_is_from_and_when_it_was_compared(model_id: str):
    found = card(model_id)
    assert found is not None
    assert date.fromisoformat(found["as_of"]) >= date(2026, 11, 25)
    assert found["source"].startswith("https://huggingface.co/")
    assert found["gated"] in {True, False, None}
    assert found["licence"]


@pytest.mark.parametrize(("model_id", "count"), PUBLISHED.items())
def test_known_models_have_their_known_sizes(model_id: str, count: int):
    assert (card(model_id) or {})["parameters"] == count


def test_id_is_found_in_any_case_and_what_is_found_is_ones_own():
    found = card("qwen/qwen2.5-7b-instruct")
    assert found is not None
    assert found["id"] == "Qwen/Qwen2.5-7B-Instruct"
    found["config"].clear()
    assert (card("Qwen/Qwen2.5-7B-Instruct") or {})["config"]


def test_model_without_a_card_is_none():
    assert card("nobody/nothing") is None


def test_active_parameters_of_mixtures_are_those_that_are_published():
    """Mixtral: 12.9 billion with the embeddings; Qwen3-30B-A3B: 3.3; gpt-oss-20b: 3.6 with the output layer only."""
    mixtral, qwen = shape("mistralai/Mixtral-8x7B-v0.1"), shape("Qwen/Qwen3-30B-A3B")
    assert mixtral.active_parameters + mixtral.embedding_parameters == 12_879_925_248
    assert qwen.active_parameters + qwen.embedding_parameters == 3_353_032_704
    assert round(shape("openai/gpt-oss-20b").active_parameters / 1e9, 1) == 3.6


def test_experts_of_a_mixture_are_nearly_all_of_it():
    found = shape("Qwen/Qwen3-30B-A3B")
    assert found.expert_parameters == 48 * 128 * 3 * 2048 * 768


def test_adapter_on_all_experts_is_far_larger_than_on_attention():
    config = (card("Qwen/Qwen3-30B-A3B") or {})["config"]
    tensors = blueprint(config) or {}
    attention = LoraSettings(rank=16, target_modules=["q_proj", "k_proj", "v_proj", "o_proj"])
    experts = 48 * 128 * 16 * (2048 + 1536 + 2048 + 768)
    alone = adapter_parameters(attention, tensors, "qwen3_moe")
    assert adapter_parameters(LoraSettings(rank=16), tensors, "qwen3_moe") == alone
    assert adapter_parameters(LoraSettings(rank=16, experts=True), tensors, "qwen3_moe") == alone + experts
    assert experts > 45 * alone


def test_vision_models_tell_their_images_tokens():
    llava, gemma = shape("llava-hf/llava-1.5-7b-hf").vision, shape("google/gemma-3-4b-it").vision
    smol, qwen = shape("HuggingFaceTB/SmolVLM-Instruct").vision, shape("Qwen/Qwen3-VL-8B-Instruct").vision
    found = [(one.patches, one.tokens) for one in (llava, gemma, smol, qwen) if one is not None]
    assert found == [(576, 576), (4096, 256), (729, 81), (None, None)]
