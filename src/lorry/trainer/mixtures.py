"""Mixtures of experts that are trained with a loss which evens their load. Imports no torch: plans ask, too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

AUX_LOSS_COEF: dict[str, float] = {
    "ernie4_5_moe": 0.001,
    "flex_olmo": 0.01,
    "gpt_oss": 0.001,
    "granitemoe": 0.001,
    "granitemoeshared": 0.001,
    "mellum": 0.001,
    "minimax": 0.001,
    "minimax_m2": 0.001,
    "mixtral": 0.001,
    "olmoe": 0.01,
    "phimoe": 0.001,
    "qwen2_moe": 0.001,
    "qwen3_5_moe_text": 0.001,
    "qwen3_moe": 0.001,
    "qwen3_next": 0.001,
    "qwen3_vl_moe_text": 0.001,
}
"""By `model_type` of the text part: the weight that Transformers 5.23 gives the loss where the configuration has none.

Other mixtures (DeepSeek-V3, GLM-4.5) are evened by a bias of their routers, and have no such loss.
"""


def coefficient(wanted: float | None, config: Mapping[str, Any]) -> float:
    """The weight of the balancing loss: the recipe's, else that of the model's configuration (of its text part); 0 for none."""
    if not can_balance(config):
        return 0.0
    own = config.get("router_aux_loss_coef")
    default = AUX_LOSS_COEF[config["model_type"]] if own is None else float(own)
    return default if wanted is None else wanted


def can_balance(config: Mapping[str, Any]) -> bool:
    """Whether the model has routers whose load is known, and a loss for it."""
    return str(config.get("model_type", "")) in AUX_LOSS_COEF


def text_settings(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a config.json that describes the decoder."""
    part = config.get("text_config")
    return part if isinstance(part, Mapping) else config
