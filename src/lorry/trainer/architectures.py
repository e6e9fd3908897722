"""Which architectures may compute shared beginnings once, and how their heads make logits.

An architecture stands here because tests/trainer/test_architectures.py has shown that its losses and gradients over a
forest are those of the plain computation. All others run padded, one row a line, and an event says so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

from lorry.data.images.families import FAMILIES
from lorry.trainer.proven import may_share


def is_proven(config: object) -> bool:
    """Whether the architecture of this configuration has passed the parity test."""
    text = getattr(config, "text_config", None)
    return may_share(getattr(config, "model_type", ""), getattr(text, "model_type", ""))


def reads_images(config: Any) -> bool:
    """Whether lorry shows images to models of this configuration."""
    return getattr(config, "model_type", "") in FAMILIES


def class_for(config: Any) -> Any:
    """Transformers' class that loads a model of this configuration with its output layer, and its vision part if it has one."""
    return AutoModelForImageTextToText if reads_images(config) else AutoModelForCausalLM


def head_of(model: torch.nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    """From hidden states to logits as the model's own forward does it: its output layer, and what follows in some
    families.
    """
    config = model.config  # pyright: ignore[reportAttributeAccessIssue]
    output = model.get_output_embeddings()  # pyright: ignore[reportCallIssue]
    scale = _scale(config)
    cap = getattr(config, "final_logit_softcapping", None) or getattr(config, "logits_soft_cap", None)

    def head(hidden: torch.Tensor) -> torch.Tensor:
        logits = output(hidden)
        logits = logits * scale if scale != 1.0 else logits
        return torch.tanh(logits / cap) * cap if cap else logits

    return head


def _scale(config: object) -> float:
    """Cohere and Falcon-H1 multiply logits by a setting of their own; by `logits_scaling` Granite divides, HyperCLOVA X
    multiplies.
    """
    factor = float(getattr(config, "logit_scale", None) or 1.0) * float(
        getattr(config, "lm_head_multiplier", None) or 1.0
    )
    scaling = float(getattr(config, "logits_scaling", None) or 1.0)
    return factor * scaling if getattr(config, "model_type", "") == "hyperclovax" else factor / scaling


@torch.no_grad()
def makes_the_same_logits(model: torch.nn.Module, head: Callable[[torch.Tensor], torch.Tensor]) -> bool:
    """Whether `head` makes of the model's hidden states what the model's own forward does, tried on a few tokens.

    A classifier's own logits are those of the last one.
    """
    weight = model.get_input_embeddings().weight  # pyright: ignore
    ids = torch.arange(4, device=weight.device)[None]  # pyright: ignore
    hidden = model.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state  # pyright: ignore
    found, wanted = head(hidden).float(), model(input_ids=ids, use_cache=False).logits.float()
    found = found[:, -1] if wanted.dim() == 2 else found
    return found.shape == wanted.shape and bool((found - wanted).abs().max() <= 0.01 * wanted.abs().max())
