"""Preference pairs and labelled answers in tokens, and a policy over a tiny model, for tests of methods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from lorry.data.examples import Example, Kind
from lorry.trainer.forest import Forest, plant
from lorry.trainer.methods._base import Method, Whole
from lorry.trainer.model import LoadedModel
from lorry.trainer.policy import Policy, policy_of
from lorry.trainer.precision import Precision
from tiny_models import VOCABULARY, forward_of


def answers(kinds: Sequence[Kind], *, prompt: int = 20, seed: int = 0) -> list[Example]:
    """Examples of these kinds; those that belong together have the same prompt, their answers differ."""
    draw = np.random.default_rng(seed)
    made: list[Example] = []
    asked = np.zeros(0, dtype=np.int64)
    for kind in kinds:
        asked = asked if kind.follows else draw.integers(3, VOCABULARY, prompt)
        answer = draw.integers(3, VOCABULARY, int(draw.integers(3, 25)))
        trained = np.arange(len(asked) + len(answer)) >= len(asked)
        made.append(Example(np.concatenate([asked, answer]).astype(np.int32), trained, kind=kind))
    return made


def pairs(count: int = 4) -> list[Example]:
    return answers([Kind.CHOSEN, Kind.REJECTED] * count)


def policy(model: Any, *, is_full: bool = False, is_continued: bool = False) -> Policy:
    """A policy over a tiny model; its reference is the model with its adapter off, or as it was at the beginning."""
    precision = Precision("float32", None, False, "")
    loaded = LoadedModel(model, torch.device("cpu"), precision, forward_of(model), has_adapter=not is_full)
    return policy_of(loaded, has_reference=True, is_continued=is_continued)


def loss_and_gradients(
    method: Method, held: Policy, batches: Sequence[Forest], looked_at: Sequence[Forest] = ()
) -> tuple[float, dict[str, torch.Tensor], dict[str, float]]:
    """The loss of a step made of these micro-batches, its gradients, and what else the method tells."""
    whole: dict[str, float] = {}
    with torch.no_grad():
        parts: list[Whole] = [method.counts(one) for one in batches] + [method.look(held, one) for one in looked_at]
    for part in parts:
        whole |= {name: whole.get(name, 0) + value for name, value in part.items()}
    model = held.loaded.model
    model.zero_grad(set_to_none=True)
    loss, told = 0.0, dict[str, float]()
    for batch in batches:
        share = method.loss(held, batch, whole)
        share.loss.backward()
        loss += float(share.loss.detach())
        told |= {name: told.get(name, 0) + value for name, value in share.told.items()}
    grads = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
    return loss, grads, told


def forest(examples: Sequence[Example], *, share: bool = True) -> Forest:
    return plant(examples, share=share)
