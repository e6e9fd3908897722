"""Builders for tests of whole runs of a mixture of experts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from tiny_runs import recipe

MIXTURE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "head_dim": 16}


def mixture_recipe(folder: Path, **sections: Any) -> dict[str, Any]:
    """The recipe of `tiny_runs` on a random mixture of four experts in each of two layers."""
    values = recipe(folder, **sections)
    make_mixture(folder / "model")
    return values


def make_mixture(folder: Path) -> None:
    """Puts such a mixture in the place of the model in a folder, whose tokenizer it keeps."""
    before = AutoConfig.from_pretrained(folder).to_dict()
    kept = {name: before[name] for name in ("vocab_size", "intermediate_size", "max_position_embeddings")}
    config = AutoConfig.for_model(
        "qwen3_moe", **kept, **MIXTURE, hidden_size=64, num_hidden_layers=2, num_attention_heads=2
    )
    config.num_key_value_heads, config.bos_token_id, config.eos_token_id = 2, 1, 2
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
