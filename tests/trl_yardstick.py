"""TRL's trainers as the yardstick: on the same tiny model, with the same adapter, given tokens instead of texts."""

from __future__ import annotations

from typing import Any

import torch
from peft import LoraConfig

from lorry.data.examples import Example
from lorry.trainer import attention
from lorry.trainer.policy import Policy
from tiny_models import LORA, tiny_model, with_lora
from tiny_preferences import policy

PLAIN: dict[str, Any] = {
    "bf16": False,
    "gradient_checkpointing": False,
    "use_cpu": True,
    "report_to": [],
    "disable_tqdm": True,
    "max_length": None,
}


def words() -> Any:
    """A tokenizer that TRL insists on and, with tokens given, never asks."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.WordLevel({"<pad>": 0, "<s>": 1, "</s>": 2}, unk_token="<pad>"))
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", bos_token="<s>", eos_token="</s>")


def split(example: Example) -> tuple[list[int], list[int]]:
    """The prompt's tokens, and the answer's."""
    return example.ids[~example.trained].tolist(), example.ids[example.trained].tolist()


def gradients(model: Any, loss: torch.Tensor) -> tuple[float, dict[str, torch.Tensor]]:
    loss.backward()
    return float(loss), {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}


def trl_trainer(kind: type[Any], config: Any, rows: Any, *, continued: bool = False, **more: Any) -> Any:
    """A trainer whose adapter has moved away from its reference: the base, or the adapter that it began with."""
    model = with_lora(tiny_model()) if continued else tiny_model()
    given = {} if continued else {"peft_config": LoraConfig(**LORA)}
    trainer = kind(model=model, args=config, train_dataset=rows, processing_class=words(), **given, **more)
    adapted = with_lora(tiny_model()).state_dict()
    with torch.no_grad():
        for name, weight in trainer.model.named_parameters():
            if weight.requires_grad:
                weight.copy_(adapted[name].float() * (2 if continued else 1))
    return trainer


def policy_like(*, continued: bool = False) -> Policy:
    """lorry's policy on the same weights, held against the same reference."""
    held = policy(with_lora(tiny_model("llama", attention.NAME), fast=True), is_continued=continued)
    if continued:
        with torch.no_grad():
            for weight in held.loaded.trained_parameters():
                weight.mul_(2)
    return held


def unused(**columns: Any) -> Any:
    """Rows that a trainer insists on."""
    from datasets import Dataset

    return Dataset.from_dict({name: [value] * 2 for name, value in columns.items()})
