"""Shapes of models whose sizes were worked out by hand, and of published models."""

from __future__ import annotations

from typing import Any

import pytest

from lorry.plan.architecture.model_shape import ModelShape, model_shape

TINY: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 8,
    "intermediate_size": 20,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 50,
}
LAYER = 8 * 8 + 2 * 4 * 8 + 8 * 8 + 3 * 8 * 20 + 2 * 8
"""Queries, keys and values, output, MLP, two norms."""


def shape(**changes: Any) -> ModelShape:
    found = model_shape({**TINY, **changes})
    assert found is not None
    return found


def test_dense_model_has_the_sizes_of_its_configuration():
    found = shape()
    assert (found.layers, found.hidden, found.heads, found.kv_heads, found.head_dim) == (2, 8, 4, 2, 2)
    assert (found.intermediate, found.mlp_matrices, found.norms, found.qk_norm) == (20, 3, 2, False)
    assert (found.vocabulary, found.tied, found.vision) == (50, False, None)
    assert (found.experts, found.active_experts, found.sparse_layers, found.expert_parameters) == (0, 0, 0, 0)


def test_dense_models_lookup_is_not_active_and_its_output_layer_is():
    found = shape()
    assert found.parameters == 2 * LAYER + 8 + 2 * 50 * 8
    assert found.embedding_parameters == 50 * 8
    assert found.active_parameters == 2 * LAYER + 8 + 50 * 8


def test_tied_output_layer_is_stored_once_and_active():
    found = shape(tie_word_embeddings=True)
    assert found.parameters == found.active_parameters == 2 * LAYER + 8 + 50 * 8


def test_learned_positions_are_looked_up():
    found = model_shape({"model_type": "gpt2", "n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 30})
    assert found is not None
    assert (found.mlp_matrices, found.intermediate, found.head_dim) == (2, 32, 4)
    assert found.embedding_parameters == (50257 + 30) * 8
    assert found.parameters - found.active_parameters == 30 * 8


def test_mixture_computes_only_the_experts_that_a_token_reaches():
    experts = {"num_local_experts": 4, "num_experts_per_tok": 1, "model_type": "mixtral", "head_dim": 2}
    found = shape(**experts)
    one = 3 * 8 * 20
    assert (found.experts, found.active_experts, found.expert_intermediate, found.intermediate) == (4, 1, 20, 0)
    assert found.expert_parameters == 2 * 4 * one
    assert found.active_parameters == found.parameters - 50 * 8 - 2 * 3 * one


def test_mixture_with_a_dense_layer_and_a_shared_expert_tells_both():
    experts = {"num_experts": 4, "moe_intermediate_size": 6, "shared_expert_intermediate_size": 12}
    found = shape(model_type="qwen2_moe", mlp_only_layers=[0], **experts)
    assert (found.sparse_layers, found.intermediate, found.expert_intermediate) == (1, 20, 6)
    assert (found.shared_intermediate, found.active_experts) == (12, 4)


@pytest.mark.parametrize(
    ("kind", "norms", "qk_norm"),
    [("gemma2", 4, False), ("gemma3_text", 4, True), ("qwen3", 2, True), ("cohere", 1, False), ("olmo2", 2, True)],
)
def test_norms_of_a_layer_are_told_by_the_architecture(kind: str, norms: int, qk_norm: bool):
    found = shape(model_type=kind)
    assert (found.norms, found.qk_norm) == (norms, qk_norm)


TOWER: dict[str, Any] = {
    "model_type": "clip_vision_model",
    "hidden_size": 6,
    "intermediate_size": 10,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 336,
    "patch_size": 14,
}


def test_vision_part_is_told_apart_and_does_not_compute_text():
    found, text = shape(model_type="llava", text_config=TINY, vision_config=TOWER), shape()
    assert found.vision is not None
    assert (found.vision.layers, found.vision.hidden, found.vision.intermediate, found.vision.heads) == (3, 6, 10, 2)
    assert (found.vision.patches, found.vision.tokens, found.vision.pixels_per_token) == (576, 576, 196)
    assert found.vision.parameters == found.parameters - text.parameters
    assert found.active_parameters == text.active_parameters


def test_tokens_of_an_image_are_known_where_its_size_is_fixed():
    gemma = shape(model_type="gemma3", vision_config={**TOWER, "image_size": 896}).vision
    smol = shape(model_type="smolvlm", text_config=TINY, vision_config={**TOWER, "image_size": 378}, scale_factor=3)
    qwen = shape(model_type="qwen2_5_vl").vision
    assert gemma is not None
    assert smol.vision is not None
    assert qwen is not None
    assert (gemma.patches, gemma.tokens) == (4096, 256)
    assert (smol.vision.patches, smol.vision.tokens) == (729, 81)
    assert (qwen.patches, qwen.tokens, qwen.pixels_per_token) == (None, None, 28 * 28)


def test_unknown_architecture_has_no_shape():
    assert model_shape({**TINY, "model_type": "mamba"}) is None
