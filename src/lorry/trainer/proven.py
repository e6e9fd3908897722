"""Which architectures may compute shared beginnings once. Imports no torch: plans ask, too."""

from __future__ import annotations

PROVEN = frozenset(
    {
        "cohere",
        "deepseek_v3",
        "dots1",
        "ernie4_5_moe",
        "flex_olmo",
        "gemma",
        "gemma3_text",
        "glm",
        "glm4_moe",
        "granite",
        "granitemoe",
        "granitemoeshared",
        "llama",
        "mellum",
        "minimax_m2",
        "mistral",
        "mixtral",
        "olmo2",
        "olmoe",
        "phi3",
        "qwen2",
        "qwen2_moe",
        "qwen3",
        "qwen3_moe",
        "smollm3",
        "starcoder2",
    }
)
"""Values of `model_type` in a model's configuration."""
SEEING = frozenset({"qwen2_5_vl", "qwen2_vl", "qwen3_vl"})
"""Vision models with a decoder of their own."""
JOINED = frozenset({"idefics3", "llava", "smolvlm"})
"""Vision models whose decoder is that of another architecture, which has to be proven, too."""


def may_share(model_type: str, text_type: str) -> bool:
    """Whether a model of this type, with a decoder of that, has passed the parity test."""
    return model_type in PROVEN or model_type in SEEING or (model_type in JOINED and text_type in PROVEN)
