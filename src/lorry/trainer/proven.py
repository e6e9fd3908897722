"""Which architectures may compute shared beginnings once. Imports no torch: plans ask, too."""

from __future__ import annotations

PROVEN = frozenset(
    {
        "cohere",
        "gemma",
        "gemma3_text",
        "glm",
        "granite",
        "llama",
        "mistral",
        "mixtral",
        "olmo2",
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
