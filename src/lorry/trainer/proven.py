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
