"""The optimizer that a recipe asks for, as far as this machine has it."""

from __future__ import annotations

from typing import Any

import torch

from lorry.recipe.schema import TrainSettings
from lorry.trainer.model import LoadedModel


def make_optimizer(loaded: LoadedModel, train: TrainSettings) -> tuple[torch.optim.Optimizer, list[str]]:
    """AdamW over what is trained, and notes on what was chosen instead of what was asked for."""
    parameters = loaded.trained_parameters()
    options: dict[str, Any] = {"lr": train.learning_rate, "weight_decay": train.weight_decay}
    if train.optimizer == "adamw_8bit":
        if loaded.device.type == "cuda":
            from bitsandbytes.optim import AdamW8bit

            return AdamW8bit(parameters, **options), []
        return _adamw(parameters, options), [
            "adamw_8bit needs a GPU: adamw is used, its states take under 1 % of memory"
        ]
    return _adamw(parameters, options), []


def _adamw(parameters: list[torch.nn.Parameter], options: dict[str, Any]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, fused=True, **options)
