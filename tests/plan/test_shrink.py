"""Small copies of architectures: what they keep of the true one, and whether Transformers builds and runs them."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

from lorry.errors import ModelError
from lorry.plan.architecture.blueprint import SUPPORTED, blueprint, is_tied
from lorry.plan.architecture.cards import card, known
from lorry.plan.architecture.vision import VISION
from lorry.plan.shrink import shrink

CARDS = sorted(
    {
        (found["config"]["model_type"], str(found["config"])): model for model in known() if (found := card(model))
    }.values()
)
"""One model for each shape that lorry has a card of."""
BUILT = sorted((SUPPORTED - set(VISION)) | {"gemma3"})
"""What AutoModelForCausalLM builds; other vision-language models are refused before anything is rehearsed."""


def published(kind: str, **changes: Any) -> dict[str, Any]:
    """A configuration of the size that the architecture is known for, every default filled in."""
    said = {"head_dim": 128} if kind == "ministral" else {}
    return AutoConfig.for_model(kind, **{**said, **changes}).to_dict()


def filled(config: dict[str, Any]) -> dict[str, Any]:
    return AutoConfig.for_model(**config).to_dict()


def built(config: dict[str, Any]) -> Any:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(**config), dtype=torch.float32).eval()


def kinds_of_tensors(config: dict[str, Any]) -> set[str]:
    """The names of all tensors, with the numbers of layers left out."""
    return {re.sub(r"\.\d+\.", ".N.", name) for name in blueprint(config) or {}}


@pytest.mark.parametrize("kind", BUILT)
def test_small_copy_is_built_and_runs(kind: str):
    config = shrink(published(kind))
    model = built(config)
    ids = torch.arange(7)[None]
    logits = model(input_ids=ids).logits
    assert logits.shape == (1, 7, published(kind).get("vocab_size") or published(kind)["text_config"]["vocab_size"])
    assert bool(logits.isfinite().all())
    assert sum(weight.numel() for weight in model.parameters()) < 120_000_000
    logits.sum().backward()


@pytest.mark.parametrize("kind", BUILT)
def test_small_copy_has_the_modules_of_the_true_model(kind: str):
    config = published(kind)
    assert kinds_of_tensors(shrink(config)) == kinds_of_tensors(config)
    assert is_tied(shrink(config)) == is_tied(config)


@pytest.mark.parametrize("kind", sorted(set(VISION) - {"gemma3"}))
def test_small_copies_of_models_that_see_are_built(kind: str):
    tower = {"model_type": "clip_vision_model"} if kind.startswith("llava") else {}
    text = {"text_config": {"model_type": "llama"}} if kind in {"idefics3", "smolvlm"} or tower else {}
    config = shrink(AutoConfig.for_model(kind, **text, vision_config=tower).to_dict())
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(AutoConfig.for_model(**config))
    assert sum(weight.numel() for weight in model.parameters()) < 120_000_000


@pytest.mark.parametrize("name", CARDS)
def test_every_card_is_shrunk_to_the_same_modules(name: str):
    found = card(name)
    assert found is not None
    config = filled(found["config"])
    assert kinds_of_tensors(shrink(config)) == kinds_of_tensors(config)


@pytest.mark.parametrize(
    ("heads", "kv_heads", "ratio"), [(28, 4, 7), (32, 8, 4), (40, 8, 5), (16, 16, 1), (12, 2, 6), (64, 8, 8), (8, 1, 8)]
)
def test_ratio_of_query_heads_to_key_heads_stays(heads: int, kv_heads: int, ratio: int):
    small = shrink({**published("llama"), "num_attention_heads": heads, "num_key_value_heads": kv_heads})
    assert small["num_attention_heads"] == ratio * small["num_key_value_heads"]
    assert small["num_attention_heads"] <= 16


def test_every_kind_of_attention_layer_stays_in_its_order():
    small = shrink(published("gemma3_text"))
    assert small["layer_types"] == ["sliding_attention", "full_attention"]
    assert small["sliding_window"] == 4096
    assert set(small["rope_parameters"]) == {"sliding_attention", "full_attention"}


def test_pattern_of_attention_without_a_list_becomes_one():
    bare = {"model_type": "exaone4", "hidden_size": 64, "num_hidden_layers": 8, "num_attention_heads": 4}
    small = shrink({**bare, "sliding_window_pattern": 4})
    assert small["layer_types"] == ["sliding_attention", "full_attention"]


def test_dense_and_sparse_layers_stay_by_each_rule():
    first = shrink(published("deepseek_v3"))
    assert (first["num_hidden_layers"], first["first_k_dense_replace"]) == (2, 1)
    every_other = shrink(published("qwen3_moe", decoder_sparse_step=2))
    assert (every_other["mlp_only_layers"], every_other["decoder_sparse_step"]) == ([0], 1)
    listed = shrink(published("qwen3_moe", mlp_only_layers=[0, 5]))
    assert listed["mlp_only_layers"] == [0]


def test_layers_without_rotary_positions_stay():
    small = shrink(published("smollm3"))
    assert sorted(small["no_rope_layers"]) == [0, 1]


def test_sparse_step_builds_both_kinds_of_layers():
    config = published("qwen3_moe", decoder_sparse_step=2)
    names = {name for name, _ in built(shrink(config)).named_parameters()}
    assert any(".mlp.experts." in name for name in names)
    assert any(".mlp.up_proj" in name for name in names)


def test_long_rotary_factors_fit_the_narrow_heads():
    scaling = {"type": "longrope", "short_factor": [1.0] * 48, "long_factor": [float(at) for at in range(48)]}
    config = published("phi3", rope_scaling=scaling, max_position_embeddings=131072)
    small = shrink(config)
    assert len(small["rope_parameters"]["long_factor"]) == 8
    built(small)(input_ids=torch.arange(5)[None])


def test_sections_of_rotary_positions_make_up_all_pairs():
    rope = {"rope_type": "default", "mrope_section": [16, 24, 24]}
    small = shrink({**published("qwen2"), "rope_parameters": rope, "num_attention_heads": 28, "num_key_value_heads": 4})
    assert small["rope_parameters"]["mrope_section"] == [2, 3, 3]


def test_heads_wider_than_the_model_stay_wider():
    small = shrink(published("gemma"))
    assert small["num_attention_heads"] * small["head_dim"] > small["hidden_size"]


def test_quantisation_that_a_model_comes_with_is_left_out():
    assert "quantization_config" not in shrink({**published("llama"), "quantization_config": {"quant_method": "awq"}})


def test_unknown_architectures_are_shrunk_by_usual_names():
    config = {"model_type": "novel", "n_layers": 40, "d_model": 5120, "n_heads": 40, "ffn_dim": 20480, "vocab_size": 9}
    small = shrink(config)
    assert (small["n_layers"], small["n_heads"], small["vocab_size"]) == (2, 4, 9)
    assert small["d_model"] == small["ffn_dim"] // 2 <= 128


@pytest.mark.parametrize("kind", ["gemma4_text", "qwen3_next", "lfm2", "glm4_moe_lite", "falcon_h1"])
def test_architectures_that_lorry_does_not_know_run_small_as_well(kind: str):
    assert kind not in SUPPORTED
    model = built(shrink(published(kind)))
    assert bool(model(input_ids=torch.arange(5)[None]).logits.isfinite().all())
    assert sum(weight.numel() for weight in model.parameters()) < 120_000_000


def test_configuration_without_sizes_is_refused_by_name():
    with pytest.raises(ModelError, match=r"cannot shrink a `rwkv` model.*num_attention_heads"):
        shrink({"model_type": "rwkv", "num_hidden_layers": 3, "hidden_size": 9})
