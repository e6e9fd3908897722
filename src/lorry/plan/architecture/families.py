"""The decoders that lorry knows by heart: for each `model_type` what its layers are made of and what they are called.

The names are those of Transformers 5.23. A fact that a configuration decides is given as the setting's name.
"""

from __future__ import annotations

from dataclasses import replace

from lorry.plan.architecture.family import Attention, Experts, Family, LatentAttention, Mlp, QkNorm, Settings


def _falcon_norms(settings: Settings) -> tuple[str, ...]:
    if settings["new_decoder_architecture"] and settings.get("num_ln_in_parallel_attn") in {None, 2}:
        return ("ln_attn", "ln_mlp")
    parallel = settings["parallel_attn"] or settings["new_decoder_architecture"]
    return ("input_layernorm",) if parallel else ("input_layernorm", "post_attention_layernorm")


def _falcon_kv_heads(settings: Settings) -> int:
    if settings["new_decoder_architecture"]:
        return settings["num_key_value_heads"] or settings["num_attention_heads"]
    return 1 if settings["multi_query"] else settings["num_attention_heads"]


def _stablelm_norms(settings: Settings) -> tuple[str, ...]:
    return (
        ("input_layernorm",) if settings["use_parallel_residual"] else ("input_layernorm", "post_attention_layernorm")
    )


def _every_nth(settings: Settings, layer: int) -> bool:
    step = settings["decoder_sparse_step"]
    return layer not in (settings.get("mlp_only_layers") or ()) and (layer + 1) % step == 0


def _after_first(settings: Settings, layer: int) -> bool:
    return layer >= settings["first_k_dense_replace"]


def _shared_by_count(settings: Settings) -> int:
    return settings["n_shared_experts"] * settings["moe_intermediate_size"]


_BIASED = Attention(bias="attention_bias", output_bias="attention_bias")
_HEAD_NORM = Attention(bias="attention_bias", output_bias="attention_bias", norm=QkNorm())
_WIDE_NORM = Attention(bias="attention_bias", output_bias="attention_bias", norm=QkNorm("width"))
_FUSED_MLP = Mlp(inputs=("gate_up_proj",), fused=True)
_AFTER = ("post_attention_layernorm", "post_feedforward_layernorm")
_AROUND = ("input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm")

_LLAMA = Family(attention=_BIASED, mlp=Mlp(bias="mlp_bias"))
_MISTRAL = Family()
_QWEN2 = Family(attention=Attention(bias=True))
_QWEN3 = Family(attention=_HEAD_NORM)
_QWEN3_MOE = Family(attention=_HEAD_NORM, experts=Experts(only_in=_every_nth))
_COHERE = Family(attention=_BIASED, norms=("input_layernorm",))
_OLMO2 = Family(attention=_WIDE_NORM, norms=_AFTER)
_GLM = Family(attention=Attention(bias="attention_bias"), mlp=_FUSED_MLP)

FAMILIES: dict[str, Family] = {
    "cohere": replace(_COHERE, attention=replace(_BIASED, norm=QkNorm("heads", when="use_qk_norm"))),
    "cohere2": _COHERE,
    "deepseek_v3": Family(
        attention=LatentAttention(),
        experts=Experts(correction=True, shared="shared_experts", shared_width=_shared_by_count, only_in=_after_first),
    ),
    "exaone4": Family(attention=Attention(norm=QkNorm()), norms=_AFTER),
    "falcon": Family(
        root="transformer",
        embedding="word_embeddings",
        layers="h",
        attention=Attention("self_attention", ("query_key_value",), "dense", bias="bias", output_bias="bias"),
        mlp=Mlp(inputs=("dense_h_to_4h",), output="dense_4h_to_h", bias="bias"),
        norms=_falcon_norms,
        norm_bias=True,
        final_norm="ln_f",
        free_head_dim=False,
        kv_heads=_falcon_kv_heads,
    ),
    "gemma": Family(attention=_BIASED),
    "gemma2": Family(attention=_BIASED, norms=_AROUND),
    "gemma3_text": Family(attention=_HEAD_NORM, norms=_AROUND),
    "glm": _GLM,
    "glm4": replace(
        _GLM,
        norms=("input_layernorm", "post_self_attn_layernorm", "post_attention_layernorm", "post_mlp_layernorm"),
    ),
    "glm4_moe": Family(
        attention=Attention(bias="attention_bias", norm=QkNorm(when="use_qk_norm")),
        experts=Experts(correction=True, shared="shared_experts", shared_width=_shared_by_count, only_in=_after_first),
    ),
    "gpt2": Family(
        root="transformer",
        embedding="wte",
        positions="wpe",
        layers="h",
        attention=Attention("attn", ("c_attn",), "c_proj", bias=True, output_bias=True),
        mlp=Mlp(inputs=("c_fc",), output="c_proj", bias=True),
        norms=("ln_1", "ln_2"),
        norm_bias=True,
        final_norm="ln_f",
        input_first=True,
        free_head_dim=False,
    ),
    "gpt_neox": Family(
        root="gpt_neox",
        embedding="embed_in",
        attention=Attention(
            "attention", ("query_key_value",), "dense", bias="attention_bias", output_bias="attention_bias"
        ),
        mlp=Mlp(inputs=("dense_h_to_4h",), output="dense_4h_to_h", bias=True),
        norm_bias=True,
        final_norm="final_layer_norm",
        free_head_dim=False,
    ),
    "gpt_oss": Family(
        attention=replace(_BIASED, sinks=True),
        experts=Experts(width="intermediate_size", router="router", bias=True, input_first=True),
    ),
    "granite": _LLAMA,
    "granitemoe": Family(
        attention=_BIASED,
        experts=Experts(path="block_sparse_moe", width="intermediate_size", router="router"),
    ),
    "llama": _LLAMA,
    "ministral": _MISTRAL,
    "ministral3": _MISTRAL,
    "mistral": _MISTRAL,
    "mixtral": Family(experts=Experts(width="intermediate_size")),
    "olmo2": _OLMO2,
    "olmo3": _OLMO2,
    "olmoe": Family(attention=_WIDE_NORM, experts=Experts(width="intermediate_size")),
    "opt": Family(
        root="model.decoder",
        positions="embed_positions",
        unused_positions=2,
        attention=Attention(output="out_proj", bias="enable_bias", output_bias="enable_bias"),
        mlp=Mlp(path="", inputs=("fc1",), output="fc2", bias="enable_bias"),
        norms=("self_attn_layer_norm", "final_layer_norm"),
        norm_bias=True,
        final_norm="final_layer_norm",
        final_norm_when="do_layer_norm_before",
        free_head_dim=False,
    ),
    "phi": Family(
        attention=Attention(
            output="dense",
            bias=True,
            output_bias=True,
            norm=QkNorm(names=("q_layernorm", "k_layernorm"), when="qk_layernorm", bias=True),
        ),
        mlp=Mlp(inputs=("fc1",), output="fc2", bias=True),
        norms=("input_layernorm",),
        norm_bias=True,
        final_norm="final_layernorm",
        head_bias=True,
    ),
    "phi3": Family(attention=Attention(inputs=("qkv_proj",)), mlp=_FUSED_MLP),
    "qwen2": _QWEN2,
    "qwen2_moe": Family(
        attention=Attention(bias="qkv_bias"),
        experts=Experts(
            shared="shared_expert",
            shared_width=lambda settings: settings["shared_expert_intermediate_size"],
            shared_gate="shared_expert_gate",
            only_in=_every_nth,
        ),
    ),
    "qwen3": _QWEN3,
    "qwen3_moe": _QWEN3_MOE,
    "seed_oss": Family(
        attention=Attention(bias="attention_bias", output_bias="attention_out_bias"), mlp=Mlp(bias="mlp_bias")
    ),
    "smollm3": _LLAMA,
    "stablelm": Family(
        attention=Attention(
            bias="use_qkv_bias", norm=QkNorm("list", names=("q_layernorm", "k_layernorm"), when="qk_layernorm")
        ),
        norms=_stablelm_norms,
        norm_bias=True,
        free_head_dim=False,
    ),
    "starcoder2": Family(
        attention=Attention(bias="use_bias", output_bias="use_bias"),
        mlp=Mlp(inputs=("c_fc",), output="c_proj", bias="use_bias"),
        norm_bias=True,
    ),
}
"""By `model_type`."""

TEXT_PARTS: dict[str, Family] = {
    "qwen2_vl_text": replace(_QWEN2, free_head_dim=False),
    "qwen2_5_vl_text": replace(_QWEN2, free_head_dim=False),
    "qwen3_vl_text": _QWEN3,
    "qwen3_vl_moe_text": _QWEN3_MOE,
}
"""Decoders that come only as the text part of a vision-language model."""
