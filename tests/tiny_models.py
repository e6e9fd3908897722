"""Builders for tests of the trainer: tiny random models of many architectures, batches of rows, LoRA with B not zero."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

from lorry.data.examples import Example
from lorry.recipe.schema import LoraSettings
from lorry.trainer import attention, lora_linear
from lorry.trainer.architectures import head_of
from lorry.trainer.forest import Forest, plant
from lorry.trainer.forward import Forward
from lorry.trainer.loss import token_loss
from lorry.trainer.model import lora_config
from lorry.trainer.score_head import score_of

VOCABULARY = 97
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "use_cache": False,
}
LORA: dict[str, Any] = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
REWARD_LORA: dict[str, Any] = {**LORA, "task_type": "SEQ_CLS", "modules_to_save": ["score"]}
_GROUPED = {
    **{"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "n_shared_experts": 1},
    **{"first_k_dense_replace": 1, "n_group": 1, "topk_group": 1},
}
"""Mixtures with dense layers and shared experts."""
SPECIAL: dict[str, dict[str, Any]] = {
    "mistral": {"sliding_window": 9},
    "starcoder2": {"sliding_window": None, "residual_dropout": 0.0, "embedding_dropout": 0.0},
    "gemma3_text": {
        "sliding_window": 9,
        "layer_types": ["sliding_attention", "full_attention"],
        "query_pre_attn_scalar": 8,
    },
    "granite": {
        "logits_scaling": 3.0,
        "embedding_multiplier": 2.0,
        "attention_multiplier": 0.4,
        "residual_multiplier": 0.5,
    },
    "cohere": {"logit_scale": 0.25},
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen2_moe": {
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 16,
        "shared_expert_intermediate_size": 16,
    },
    "qwen3_moe": {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16},
    "flex_olmo": {"num_experts": 4, "num_experts_per_tok": 2},
    "olmoe": {"num_experts": 4, "num_experts_per_tok": 2},
    **{
        kind: {"num_local_experts": 4, "num_experts_per_tok": 2}
        for kind in ("gpt_oss", "granitemoe", "granitemoeshared", "minimax_m2")
    },
    "ernie4_5_moe": {"moe_num_experts": 4, "moe_k": 2, "moe_intermediate_size": 16, "moe_num_shared_experts": 1},
    "mellum": {
        **{"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16},
        **{"sliding_window": 9, "layer_types": ["sliding_attention", "full_attention"]},
    },
    "glm4_moe": _GROUPED,
    "dots1": {**_GROUPED, "sliding_window": 9, "layer_types": ["sliding_attention", "full_attention"]},
    "deepseek_v3": {
        **_GROUPED,
        **{"q_lora_rank": 8, "kv_lora_rank": 8, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8},
        "num_key_value_heads": 4,
    },
}


def tiny_model(kind: str = "llama", implementation: str = "sdpa", **changes: Any) -> Any:
    """A random model in fp32, the same for every implementation of attention."""
    return _tiny(AutoModelForCausalLM, kind, implementation, changes)


def tiny_reward_model(kind: str = "llama", implementation: str = "sdpa", **changes: Any) -> Any:
    """The same with a random head for rewards in the place of its output layer."""
    return _tiny(AutoModelForSequenceClassification, kind, implementation, {"num_labels": 1, **changes})


def _tiny(auto: Any, kind: str, implementation: str, changes: dict[str, Any]) -> Any:
    attention.register()
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **{**SIZES, **SPECIAL.get(kind, {}), **changes})
    model = auto.from_config(config, attn_implementation=implementation, dtype=torch.float32)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.normal_(std=0.3)
    return model


def with_lora(model: Any, *, fast: bool = False, **settings: Any) -> Any:
    """The model with a LoRA adapter on its linear layers whose B is not zero."""
    torch.manual_seed(1)
    adapted = get_peft_model(model, LoraConfig(**{**LORA, **settings}))
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.1)
    if fast:
        assert lora_linear.speed_up(adapted) > 0
    return adapted


def with_recipe_lora(model: Any, **settings: Any) -> Any:
    """The model with the adapter that a recipe's `lora` means, its B not zero."""
    adapted = get_peft_model(model, lora_config(LoraSettings(rank=4, alpha=8, **settings), "language", model))
    torch.manual_seed(1)
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.1)
    return adapted


def forward_of(adapted: Any, way: str = "forest") -> Forward:
    base = adapted.get_base_model() if hasattr(adapted, "get_base_model") else adapted
    head = score_of(base) if hasattr(base, "score") else head_of(base)
    return Forward(base.get_decoder(), head, torch.device("cpu"), way, VOCABULARY)


def rows(count: int = 6, *, prefix: int = 20, seed: int = 0, longest: int = 30) -> list[Example]:
    """Rows that begin with the same tokens, pairs of which share more; the last tokens of each are trained on."""
    draw = np.random.default_rng(seed)
    beginning = draw.integers(3, VOCABULARY, prefix)
    middles = [draw.integers(3, VOCABULARY, 18) for _ in range(max(1, count // 2))]
    made: list[Example] = []
    for row in range(count):
        end = draw.integers(3, VOCABULARY, int(draw.integers(3, longest)))
        ids = np.concatenate([beginning, middles[row // 2 % len(middles)], end]).astype(np.int32)
        trained = np.zeros(len(ids), dtype=np.bool_)
        trained[-len(end) :] = True
        made.append(Example(ids, trained))
    return made


def loss_and_gradients(
    adapted: Any, forward: Forward, batches: Sequence[Forest]
) -> tuple[float, dict[str, torch.Tensor]]:
    """The mean loss per trained token over all micro-batches of a step, and every trained tensor's gradient."""
    trained = sum(batch.trained_tokens for batch in batches)
    adapted.zero_grad(set_to_none=True)
    total = 0.0
    for batch in batches:
        loss = token_loss(forward, batch) / trained
        loss.backward()
        total += float(loss.detach())
    return total, {name: weight.grad.clone() for name, weight in adapted.named_parameters() if weight.grad is not None}


def worst_difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """The largest relative L2 distance of two tensors of one name."""
    assert one.keys() == other.keys()
    assert one
    return max(float((one[name] - other[name]).norm() / other[name].norm().clamp_min(1e-12)) for name in one)


def compare(kind: str, make: Callable[[str], Any], examples: list[Example], way: str = "forest") -> tuple[float, float]:
    """Relative differences of loss and gradients between a forest and the plain padded computation."""
    plain = make("sdpa")
    shared = make(attention.NAME)
    expected, wanted = loss_and_gradients(plain, forward_of(plain, "padded"), [plant(examples, share=False)])
    found, got = loss_and_gradients(shared, forward_of(shared, way), [plant(examples)])
    return abs(found - expected) / expected, worst_difference(got, wanted)
