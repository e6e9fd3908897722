"""What a configuration may leave out: the sizes and switches that Transformers 5.23 then takes, by `model_type`.

They are the defaults of its configuration classes; tests compare them. Published configurations do leave out much:
those of LLaVA-1.5 and Gemma 3 name only a few settings of their text part.
"""

from __future__ import annotations

from typing import Any


def _sizes(
    vocabulary: int, hidden: int, intermediate: int | None, layers: int, heads: int, kv_heads: int | None, **more: Any
) -> dict[str, Any]:
    """`intermediate` is None where it is four times the hidden size, `kv_heads` where it is the number of heads."""
    sizes = {
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
    }
    return {**sizes, **more}


DEFAULTS: dict[str, dict[str, Any]] = {
    "cohere": _sizes(256000, 8192, 22528, 40, 64, None, tie_word_embeddings=True),
    "cohere2": _sizes(256000, 8192, 22528, 40, 64, None, tie_word_embeddings=True),
    "deepseek_v3": _sizes(
        129280,
        7168,
        18432,
        61,
        128,
        128,
        num_experts=256,
        num_experts_per_tok=8,
        moe_intermediate_size=2048,
        n_shared_experts=1,
        first_k_dense_replace=3,
        kv_lora_rank=512,
        q_lora_rank=1536,
        qk_nope_head_dim=128,
        qk_rope_head_dim=64,
        v_head_dim=128,
    ),
    "exaone4": _sizes(102400, 4096, 16384, 32, 32, 32),
    "falcon": _sizes(
        65024,
        4544,
        None,
        32,
        71,
        None,
        tie_word_embeddings=True,
        multi_query=True,
        parallel_attn=True,
        new_decoder_architecture=False,
    ),
    "gemma": _sizes(256000, 3072, 24576, 28, 16, 16, head_dim=256, tie_word_embeddings=True),
    "gemma2": _sizes(256000, 2304, 9216, 26, 8, 4, head_dim=256, tie_word_embeddings=True),
    "gemma3_text": _sizes(262208, 2304, 9216, 26, 8, 4, head_dim=256, tie_word_embeddings=True),
    "glm": _sizes(151552, 4096, 13696, 40, 32, 2, head_dim=128, attention_bias=True),
    "glm4": _sizes(151552, 4096, 13696, 40, 32, 2, head_dim=128, attention_bias=True),
    "glm4_moe": _sizes(
        151552,
        4096,
        10944,
        46,
        96,
        8,
        num_experts=128,
        num_experts_per_tok=8,
        moe_intermediate_size=1408,
        n_shared_experts=1,
        first_k_dense_replace=1,
    ),
    "gpt2": _sizes(50257, 768, None, 12, 12, None, tie_word_embeddings=True, max_position_embeddings=1024),
    "gpt_neox": _sizes(50432, 6144, 24576, 44, 64, None, attention_bias=True),
    "gpt_oss": _sizes(
        201088, 2880, 2880, 36, 64, 8, head_dim=64, attention_bias=True, num_experts=128, num_experts_per_tok=4
    ),
    "granite": _sizes(32000, 4096, 11008, 32, 32, None),
    "granitemoe": _sizes(32000, 4096, 11008, 32, 32, None, num_experts=8, num_experts_per_tok=2),
    "llama": _sizes(32000, 4096, 11008, 32, 32, None),
    "ministral": _sizes(32000, 4096, 14336, 32, 32, 8),
    "ministral3": _sizes(131072, 4096, 14336, 34, 32, 8, head_dim=128),
    "mistral": _sizes(32000, 4096, 14336, 32, 32, 8),
    "mixtral": _sizes(32000, 4096, 14336, 32, 32, 8, num_experts=8, num_experts_per_tok=2),
    "olmo2": _sizes(50304, 4096, 11008, 32, 32, None),
    "olmo3": _sizes(50304, 4096, 11008, 32, 32, None),
    "olmoe": _sizes(50304, 2048, 2048, 16, 16, None, num_experts=64, num_experts_per_tok=8),
    "opt": _sizes(
        50272,
        768,
        3072,
        12,
        12,
        None,
        tie_word_embeddings=True,
        enable_bias=True,
        do_layer_norm_before=True,
        max_position_embeddings=2048,
    ),
    "phi": _sizes(51200, 2048, 8192, 24, 32, None),
    "phi3": _sizes(32064, 3072, 8192, 32, 32, None),
    "qwen2": _sizes(151936, 4096, 22016, 32, 32, 32),
    "qwen2_moe": _sizes(
        151936,
        2048,
        5632,
        24,
        16,
        16,
        num_experts=60,
        num_experts_per_tok=4,
        moe_intermediate_size=1408,
        shared_expert_intermediate_size=5632,
        decoder_sparse_step=1,
        qkv_bias=True,
    ),
    "qwen3": _sizes(151936, 4096, 22016, 32, 32, 32, head_dim=128),
    "qwen3_moe": _sizes(
        151936,
        2048,
        6144,
        24,
        32,
        4,
        num_experts=128,
        num_experts_per_tok=8,
        moe_intermediate_size=768,
        decoder_sparse_step=1,
    ),
    "seed_oss": _sizes(155136, 4096, 27648, 64, 80, 8, head_dim=128, attention_bias=True),
    "smollm3": _sizes(128256, 2048, 11008, 36, 16, 4, tie_word_embeddings=True),
    "stablelm": _sizes(50304, 2560, 6912, 32, 32, 32, use_parallel_residual=False),
    "starcoder2": _sizes(49152, 3072, 12288, 30, 24, 2, tie_word_embeddings=True, use_bias=True),
    "qwen2_vl_text": _sizes(152064, 8192, 29568, 80, 64, 8),
    "qwen2_5_vl_text": _sizes(152064, 8192, 29568, 80, 64, 8),
    "qwen3_vl_text": _sizes(151936, 4096, 22016, 32, 32, 32, head_dim=128),
    "qwen3_vl_moe_text": _sizes(
        151936,
        2048,
        5632,
        24,
        16,
        16,
        tie_word_embeddings=True,
        num_experts=60,
        num_experts_per_tok=4,
        moe_intermediate_size=1408,
        decoder_sparse_step=1,
    ),
}
