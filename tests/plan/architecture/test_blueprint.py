"""Blueprints against the models that Transformers builds, on the meta device, and adapters against PEFT."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from typing import Any

import pytest
import torch
from peft import get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

from lorry.plan.adapter_places import modules, places, stacks, targeted, trouble
from lorry.plan.adapter_size import adapter_parameters, lora_parameters, parameters
from lorry.plan.architecture.blueprint import SUPPORTED, blueprint
from lorry.plan.architecture.family_defaults import DEFAULTS
from lorry.plan.architecture.vision import VISION
from lorry.recipe.schema import LoraSettings
from lorry.trainer.model import lora_config
from lorry.trainer.untouched import reached

TOKENS: dict[str, Any] = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
SMALL: dict[str, Any] = {
    **TOKENS,
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 10,
}
NO_HEAD_DIM = {name: value for name, value in SMALL.items() if name != "head_dim"}
BARE: dict[str, Any] = {
    **TOKENS,
    "vocab_size": 97,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
EXPERTS: dict[str, Any] = {"num_experts_per_tok": 2, "moe_intermediate_size": 12}
DEEPSEEK: dict[str, Any] = {
    **NO_HEAD_DIM,
    **EXPERTS,
    "num_key_value_heads": 4,
    "n_routed_experts": 4,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    "kv_lora_rank": 6,
    "q_lora_rank": 5,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 4,
    "v_head_dim": 10,
}
GLM_MOE = {**SMALL, **EXPERTS, "n_routed_experts": 4, "n_shared_experts": 2, "first_k_dense_replace": 1}

TEXT: list[tuple[str, dict[str, Any]]] = [
    ("cohere", SMALL),
    ("cohere", {**NO_HEAD_DIM, "use_qk_norm": True, "attention_bias": True}),
    ("cohere2", SMALL),
    ("deepseek_v3", DEEPSEEK),
    ("deepseek_v3", {**DEEPSEEK, "q_lora_rank": None, "n_shared_experts": 2, "attention_bias": True}),
    ("exaone4", SMALL),
    ("falcon", BARE),
    ("falcon", {**BARE, "multi_query": False, "bias": True, "ffn_hidden_size": 40}),
    ("falcon", {**BARE, "new_decoder_architecture": True, "num_kv_heads": 2}),
    ("falcon", {**BARE, "new_decoder_architecture": True, "num_kv_heads": 2, "num_ln_in_parallel_attn": 1}),
    ("falcon", {**BARE, "parallel_attn": False, "alibi": True}),
    ("gemma", SMALL),
    ("gemma2", SMALL),
    ("gemma2", {**SMALL, "tie_word_embeddings": False}),
    ("gemma3_text", SMALL),
    ("glm", SMALL),
    ("glm4", SMALL),
    ("glm4_moe", GLM_MOE),
    ("glm4_moe", {**GLM_MOE, "use_qk_norm": True}),
    ("gpt2", {**TOKENS, "vocab_size": 97, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}),
    ("gpt2", {**BARE, "n_inner": 40}),
    ("gpt_neox", {**BARE, "intermediate_size": 48}),
    ("gpt_neox", {**BARE, "intermediate_size": 48, "attention_bias": False, "tie_word_embeddings": True}),
    ("gpt_oss", {**SMALL, "num_local_experts": 4}),
    ("granite", SMALL),
    ("granite", {**SMALL, "tie_word_embeddings": True}),
    ("granitemoe", {**SMALL, "num_local_experts": 4}),
    ("llama", SMALL),
    ("llama", {**NO_HEAD_DIM, "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}),
    ("ministral", SMALL),
    ("ministral3", SMALL),
    ("mistral", SMALL),
    ("mistral", NO_HEAD_DIM),
    ("mixtral", {**SMALL, "num_local_experts": 4}),
    ("olmo2", SMALL),
    ("olmo3", SMALL),
    ("olmoe", {**NO_HEAD_DIM, "num_experts": 4}),
    ("opt", {**BARE, "ffn_dim": 40}),
    ("opt", {**BARE, "ffn_dim": 40, "word_embed_proj_dim": 16, "do_layer_norm_before": False}),
    ("phi", SMALL),
    ("phi", {**NO_HEAD_DIM, "qk_layernorm": True}),
    ("phi3", SMALL),
    ("phi3", {**NO_HEAD_DIM, "tie_word_embeddings": True}),
    ("qwen2", SMALL),
    ("qwen2", {**NO_HEAD_DIM, "tie_word_embeddings": True}),
    ("qwen2_moe", {**NO_HEAD_DIM, **EXPERTS, "num_experts": 4, "shared_expert_intermediate_size": 20}),
    ("qwen2_moe", {**SMALL, **EXPERTS, "num_experts": 4, "qkv_bias": False, "mlp_only_layers": [1]}),
    ("qwen3", SMALL),
    ("qwen3_moe", {**SMALL, **EXPERTS, "num_experts": 4}),
    ("qwen3_moe", {**NO_HEAD_DIM, **EXPERTS, "num_local_experts": 4, "decoder_sparse_step": 2}),
    ("seed_oss", SMALL),
    ("smollm3", SMALL),
    ("stablelm", SMALL),
    ("stablelm", {**NO_HEAD_DIM, "qk_layernorm": True, "use_qkv_bias": True, "use_parallel_residual": True}),
    ("starcoder2", SMALL),
    ("starcoder2", {**NO_HEAD_DIM, "use_bias": False, "tie_word_embeddings": False}),
]

QWEN_TEXT = {**SMALL, "rope_parameters": {"rope_type": "default", "mrope_section": [1, 2, 2], "rope_theta": 1e4}}
QWEN_TOWER = {"depth": 3, "hidden_size": 24, "out_hidden_size": 32, "intermediate_size": 28, "num_heads": 2}
TOWER = {
    "hidden_size": 24,
    "intermediate_size": 28,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
CLIP = {**TOWER, "model_type": "clip_vision_model"}
SIGLIP = {**TOWER, "model_type": "siglip_vision_model"}
LLAMA = {**SMALL, "model_type": "llama"}
MOE_TEXT = {**QWEN_TEXT, **EXPERTS, "num_experts": 4}
DEEP = {**QWEN_TOWER, "deepstack_visual_indexes": [1, 2]}

SEEING: list[tuple[str, dict[str, Any]]] = [
    ("gemma3", {"text_config": SMALL, "vision_config": {**SIGLIP, "vision_use_head": False}}),
    ("gemma3", {"text_config": SMALL, "vision_config": SIGLIP}),
    ("idefics3", {"text_config": LLAMA, "vision_config": TOWER, "scale_factor": 3}),
    ("smolvlm", {"text_config": LLAMA, "vision_config": TOWER}),
    ("llava", {"text_config": LLAMA, "vision_config": CLIP}),
    ("llava", {"text_config": {**SMALL, "model_type": "qwen2", "tie_word_embeddings": True}, "vision_config": SIGLIP}),
    ("llava", {"text_config": LLAMA, "vision_config": CLIP, "multimodal_projector_bias": False}),
    ("llava", {"text_config": LLAMA, "vision_config": CLIP, "vision_feature_layer": [-1, -2]}),
    ("llava_next", {"text_config": {**SMALL, "model_type": "mistral"}, "vision_config": CLIP}),
    ("qwen2_vl", {"text_config": QWEN_TEXT, "vision_config": {"depth": 2, "embed_dim": 24, "hidden_size": 32}}),
    ("qwen2_5_vl", {"text_config": QWEN_TEXT, "vision_config": QWEN_TOWER}),
    ("qwen2_5_vl", {"text_config": {**QWEN_TEXT, "tie_word_embeddings": True}, "vision_config": QWEN_TOWER}),
    ("qwen2_5_vl", {**QWEN_TEXT, "vision_config": QWEN_TOWER}),
    ("qwen3_vl", {"text_config": QWEN_TEXT, "vision_config": DEEP}),
    ("qwen3_vl", {"text_config": QWEN_TEXT, "vision_config": DEEP, "tie_word_embeddings": True}),
    ("qwen3_vl_moe", {"text_config": MOE_TEXT, "vision_config": DEEP}),
]
CASES = [*TEXT, *SEEING]
NAMES = [kind for kind, _ in CASES]


def real_model(config: dict[str, Any]) -> Any:
    """The model as Transformers builds it from this config.json, without memory."""
    made = AutoConfig.for_model(**config)
    builder = AutoModelForImageTextToText if config["model_type"] in VISION else AutoModelForCausalLM
    with torch.device("meta"):
        return builder.from_config(made)


def real_shapes(model: Any) -> dict[str, tuple[int, ...]]:
    """What a checkpoint of the model holds: all but an output layer that is the embeddings."""
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    if model.get_output_embeddings().weight is model.get_input_embeddings().weight:
        del shapes["lm_head.weight"]
    return shapes


def blueprint_shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: tensor.shape for name, tensor in (blueprint(config) or {}).items()}


def test_every_supported_architecture_is_tested():
    assert set(NAMES) == SUPPORTED


@pytest.mark.parametrize(("kind", "changes"), CASES, ids=NAMES)
def test_names_and_shapes_are_those_of_transformers(kind: str, changes: dict[str, Any]):
    config = {**changes, "model_type": kind}
    assert blueprint_shapes(config) == real_shapes(real_model(config))


@pytest.mark.parametrize("kind", sorted(SUPPORTED - set(VISION)))
def test_what_a_configuration_leaves_out_is_as_in_transformers(kind: str):
    said = {"head_dim": 128} if kind == "ministral" else {}  # without it Transformers cannot build this one
    config = {"model_type": kind, "num_hidden_layers": 5, **said, **TOKENS}
    assert blueprint_shapes(config) == real_shapes(real_model(config))


@pytest.mark.parametrize("kind", sorted(VISION))
def test_what_a_vision_configuration_leaves_out_is_as_in_transformers(kind: str):
    text = {"num_hidden_layers": 2}
    tower = {"model_type": "clip_vision_model" if kind.startswith("llava") else "siglip_vision_model"}
    named = {"text_config": text, "vision_config": tower if kind in {"gemma3", "llava", "llava_next"} else {}}
    config = {"model_type": kind, **named}
    assert blueprint_shapes(config) == real_shapes(real_model(config))


def test_defaults_are_kept_for_known_architectures_only():
    texts = {family.text for family in VISION.values() if family.text}
    assert set(DEFAULTS) == (SUPPORTED - set(VISION)) | texts


def test_unknown_architectures_have_no_blueprint():
    assert blueprint({"model_type": "mamba"}) is None
    assert blueprint({}) is None
    assert blueprint({"model_type": "llava", "text_config": {"model_type": "mamba"}}) is None
    assert blueprint({"model_type": "llava", "vision_config": {"model_type": "dinov2"}}) is None


def test_blueprint_needs_neither_torch_nor_transformers():
    code = (
        "import sys; from lorry.plan.architecture.blueprint import blueprint;"
        " blueprint({'model_type': 'llama'}); print(sorted(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "'torch'" not in done.stdout
    assert "'transformers'" not in done.stdout


@cache
def first_of(kind: str) -> dict[str, Any]:
    return {**next(changes for name, changes in CASES if name == kind), "model_type": kind}


def peft_size(config: dict[str, Any], lora: LoraSettings) -> tuple[set[str], int]:
    """The adapted modules and the adapter's parameters, of PEFT itself, as lorry asks it for them."""
    base = real_model(config)
    adapted: Any = get_peft_model(base, lora_config(lora, "language", base))
    return set(adapted.base_model.targeted_module_names), adapted.get_nb_trainable_parameters()[0]


MIXTURES = [
    "deepseek_v3",
    "glm4_moe",
    "gpt_oss",
    "granitemoe",
    "mixtral",
    "olmoe",
    "qwen2_moe",
    "qwen3_moe",
    "qwen3_vl_moe",
]


def shapes_of(kind: str) -> dict[str, tuple[int, ...]]:
    return {name: tensor.shape for name, tensor in (blueprint(first_of(kind)) or {}).items()}


@pytest.mark.filterwarnings("ignore:fan_in_fan_out")
@pytest.mark.parametrize("kind", sorted(SUPPORTED))
@pytest.mark.parametrize("all_of_it", [False, True])
def test_all_linear_adapter_has_the_size_that_peft_makes(kind: str, all_of_it: bool):
    config, lora = first_of(kind), LoraSettings(rank=4, vision=all_of_it, projector=all_of_it)
    assert adapter_parameters(lora, blueprint(config) or {}, kind) == peft_size(config, lora)[1]


@pytest.mark.filterwarnings("ignore:fan_in_fan_out")
@pytest.mark.parametrize("kind", sorted(SUPPORTED))
def test_all_linear_adapter_sits_where_peft_puts_it(kind: str):
    config, lora = first_of(kind), LoraSettings(rank=4)
    found = places(lora, shapes_of(kind), kind).modules
    assert set(targeted(found, reached(lora, modules(blueprint(config) or {})))) == peft_size(config, lora)[0]


@pytest.mark.parametrize("kind", MIXTURES)
def test_adapter_on_experts_has_the_size_that_peft_makes(kind: str):
    config, lora = first_of(kind), LoraSettings(rank=4, experts=True)
    with_experts = adapter_parameters(lora, blueprint(config) or {}, kind)
    assert with_experts == peft_size(config, lora)[1]
    assert with_experts > adapter_parameters(LoraSettings(rank=4), blueprint(config) or {}, kind)


@pytest.mark.filterwarnings("ignore:fan_in_fan_out")
@pytest.mark.parametrize(
    ("kind", "targets"),
    [
        ("llama", ["q_proj", "v_proj"]),
        ("mistral", ["q_proj", "k_proj", "v_proj", "o_proj"]),
        ("qwen2", ["q_proj", "down_proj"]),
        ("qwen3", ["layers.0.self_attn.v_proj"]),
        ("gemma2", ["gate_proj", "up_proj"]),
        ("gemma3", ["q_proj", "v_proj"]),
        ("phi3", ["qkv_proj", "gate_up_proj"]),
        ("phi", ["dense", "fc1", "fc2"]),
        ("gpt2", ["c_attn", "c_proj"]),
        ("gpt_neox", ["query_key_value"]),
        ("opt", ["out_proj", "fc1"]),
        ("falcon", ["query_key_value", "dense_4h_to_h"]),
        ("mixtral", ["q_proj", "o_proj"]),
        ("mixtral", ["w1", "w2", "w3"]),
        ("qwen2_moe", ["q_proj", "shared_expert.gate_proj", "shared_expert_gate"]),
        ("qwen2_moe", ["gate_proj", "up_proj"]),
        ("qwen3_moe", ["q_proj", "gate_proj", "up_proj", "down_proj"]),
        ("qwen3_moe", ["gate", "experts.down_proj"]),
        ("deepseek_v3", ["q_a_proj", "kv_b_proj", "down_proj"]),
        ("qwen2_5_vl", ["q_proj", "qkv"]),
        ("smolvlm", ["q_proj", "proj"]),
    ],
)
def test_adapter_on_named_modules_has_the_size_that_peft_makes(kind: str, targets: list[str]):
    config, lora = first_of(kind), LoraSettings(rank=4, target_modules=targets)
    assert adapter_parameters(lora, blueprint(config) or {}, kind) == peft_size(config, lora)[1]


@pytest.mark.filterwarnings("ignore:fan_in_fan_out")
@pytest.mark.parametrize("kind", sorted(SUPPORTED))
def test_dora_adds_a_magnitude_for_each_output(kind: str):
    config, lora = first_of(kind), LoraSettings(rank=4, dora=True)
    assert adapter_parameters(lora, blueprint(config) or {}, kind) == peft_size(config, lora)[1]


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("qwen3_moe", {"dropout": 0.1, "experts": True}),
        ("olmoe", {"dora": True, "target_modules": ["w1", "w2", "w3"]}),
        ("qwen3_moe", {"dropout": 0.1, "target_parameters": ["mlp.gate.weight"]}),
        ("qwen3_moe", {"target_modules": ["w1"], "experts": False}),
    ],
)
def test_settings_that_peft_refuses_on_experts_are_known(kind: str, changes: dict[str, Any]):
    lora = LoraSettings(rank=4, **changes)
    assert trouble(lora, places(lora, shapes_of(kind), kind))
    with pytest.raises(ValueError, match=r"does not work|No `target_modules`"):
        peft_size(first_of(kind), lora)


def test_half_of_what_is_one_tensor_is_refused():
    lora = LoraSettings(target_modules=["q_proj", "w3"])
    assert "both are adapted, or none" in trouble(lora, places(lora, shapes_of("mixtral"), "mixtral"))


def test_experts_that_stay_as_they_are_make_no_trouble():
    for kind in MIXTURES:
        for lora in (LoraSettings(dropout=0.1), LoraSettings(dora=True), LoraSettings(dropout=0.1, experts=False)):
            found = places(lora, shapes_of(kind), kind)
            assert not trouble(lora, found)
            assert found.parameters == []


def test_experts_that_a_checkpoint_stores_by_themselves_are_those_of_the_model():
    fused = stacks(shapes_of("qwen3_moe"))
    single: dict[str, tuple[int, ...]] = {}
    for name, (count, out, width) in fused.items():
        root, _, part = name.rpartition(".")
        parts = {"gate_up_proj": ["gate_proj", "up_proj"], "down_proj": ["down_proj"]}[part]
        single |= {f"{root}.{at}.{one}.weight": (out // len(parts), width) for at in range(count) for one in parts}
    assert stacks(single) == fused


def test_layers_whose_names_peft_takes_for_the_experts_are_told():
    lora = LoraSettings()
    assert places(lora, shapes_of("deepseek_v3"), "deepseek_v3").unreached
    assert not places(lora, shapes_of("qwen2_moe"), "qwen2_moe").unreached
    assert not places(lora, shapes_of("qwen3_moe"), "qwen3_moe").unreached


@pytest.mark.parametrize("kind", ["llama", "qwen2_moe", "smolvlm"])
def test_dora_adds_what_peft_adds(kind: str):
    config, lora = first_of(kind), LoraSettings(rank=4, dora=True)
    assert adapter_parameters(lora, blueprint(config) or {}, kind) == peft_size(config, lora)[1]


QWEN25_7B = {
    "model_type": "qwen2",
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "vocab_size": 152064,
}


def test_qwen25_7b_from_its_configuration_has_the_published_sizes():
    tensors = blueprint(QWEN25_7B) or {}
    lora = LoraSettings(rank=8, target_modules=["q_proj", "k_proj", "v_proj", "o_proj"])
    assert parameters(tensors) == 7_615_616_512
    assert lora_parameters(lora, modules(tensors)) == 5_046_272
