"""Builders of reward models: an adapter with a random head on a tiny model's folder, and recipes that it judges for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tiny_rollouts import recipe


def reward_adapter(folder: Path, base: Path, **settings: Any) -> Path:
    """What PEFT writes of a reward model on this base: an adapter whose weights are random, so that its rewards differ."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(7)
    model: Any = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1, dtype=torch.float32)
    known = {"r": 4, "target_modules": "all-linear", "task_type": "SEQ_CLS", "modules_to_save": ["score"], **settings}
    adapted: Any = get_peft_model(model, LoraConfig(**known))
    for name, weight in adapted.named_parameters():
        if "lora_B" in name or "score" in name:
            torch.nn.init.normal_(weight, std=0.5)
    adapted.save_pretrained(folder)
    return folder


def change_adapter(folder: Path, change: Any) -> None:
    """Rewrites an adapter's tensors as `change` makes them of those that it has."""
    from safetensors.torch import load_file, save_file

    file = folder / "adapter_model.safetensors"
    save_file(change(load_file(file)), file, metadata={"format": "pt"})


def change_config(file: Path, **values: Any) -> None:
    """Lays values over those of a JSON file."""
    file.write_text(json.dumps({**json.loads(file.read_text(encoding="utf-8")), **values}), encoding="utf-8")


def judged_recipe(folder: Path, method: str = "grpo", **sections: Any) -> dict[str, Any]:
    """Six steps of answers that a reward model's adapter on the policy's own base judges."""
    values = recipe(folder, method, **sections)
    adapter = folder / "reward"
    if not adapter.exists():
        reward_adapter(adapter, folder / "model")
    values["method"]["rewards"] = [{"name": "adapter", "adapter": str(adapter)}]
    return values
