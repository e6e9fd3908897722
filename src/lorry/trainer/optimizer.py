"""The optimizer that a recipe asks for, as far as this machine has it."""

from __future__ import annotations

from typing import Any

import torch

from lorry.recipe.schema import TrainSettings
from lorry.trainer.model import LoadedModel


def make_optimizer(loaded: LoadedModel, train: TrainSettings) -> tuple[torch.optim.Optimizer, list[str]]:
    """AdamW over what is trained, and notes on what was chosen instead of what was asked for."""
    parameters = _groups(loaded.trained_parameters(), train.weight_decay)
    options: dict[str, Any] = {"lr": train.learning_rate}
    if train.optimizer == "adamw_8bit":
        if loaded.device.type == "cuda":
            from bitsandbytes.optim import AdamW8bit

            return AdamW8bit(parameters, **options), []
        return _adamw(parameters, options), [
            "adamw_8bit needs a GPU: adamw is used, its states take under 1 % of memory"
        ]
    return _adamw(parameters, options), []


def _groups(parameters: list[torch.nn.Parameter], decay: float) -> list[dict[str, Any]]:
    """Matrices decay; norms, biases and DoRA's magnitudes do not, for zero is not where they rest."""
    matrices = [parameter for parameter in parameters if parameter.dim() > 1]
    others = [parameter for parameter in parameters if parameter.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def _adamw(parameters: list[dict[str, Any]], options: dict[str, Any]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, fused=True, **options)
