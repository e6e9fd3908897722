"""How large an adapter is, from the names and shapes of the model's tensors."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from lorry.plan.adapter_places import Shape, Shapes, matching, modules, places, stacks, targeted
from lorry.recipe.lora import LoraSettings
from lorry.trainer.untouched import reached

if TYPE_CHECKING:
    from lorry.trainer.sources.tensors import Tensor

_TRANSPOSED = frozenset({"gpt2"})
"""Models whose matrices are `(in, out)`: Transformers' Conv1D."""
SCORE = "score.weight"
"""The scalar head of a reward model."""
_OUTPUT = re.compile(r"(^|\.)lm_head\.")


def with_score(tensors: Mapping[str, Tensor], hidden: int) -> dict[str, Tensor]:
    """The tensors of a model with a scalar head, one number for `hidden`, in the place of its output layer."""
    from lorry.trainer.sources.tensors import Tensor

    kept = {name: tensor for name, tensor in tensors.items() if not _OUTPUT.search(name)}
    return {**kept, SCORE: Tensor((1, hidden))}


def lora_parameters(lora: LoraSettings, shapes: Shapes, model_type: str = "") -> int:
    """Parameters of the adapter on modules: `r * (in + out)` for each matrix (arXiv 2106.09685), and `out` more with DoRA."""
    matrices = [shape for shape in targeted(lora.target_modules, shapes).values() if len(shape) == 2]
    out = 1 if model_type in _TRANSPOSED else 0
    return sum(lora.rank * (shape[0] + shape[1]) + (shape[out] if lora.dora else 0) for shape in matrices)


def adapter_parameters(lora: LoraSettings, tensors: Mapping[str, Tensor], model_type: str) -> int:
    """Parameters of the whole adapter, those on the experts of mixtures among them, as PEFT 0.21 makes it.

    Every expert gets matrices of its own, of the adapter's rank; gate and up are one tensor of twice the width. A scalar head
    is trained as a whole.
    """
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    found = places(lora, shapes, model_type)
    whole = math.prod(shapes[SCORE]) if SCORE in shapes else 0
    named = lora.model_copy(update={"target_modules": found.modules})
    return (
        whole
        + lora_parameters(named, reached(lora, modules(tensors)), model_type)
        + on_tensors(lora, shapes, model_type)
    )


def on_tensors(lora: LoraSettings, shapes: Shapes, model_type: str) -> int:
    """The part of them that sits on tensors which are no modules: those of experts."""
    found = places(lora, shapes, model_type)
    return sum(_on_tensor(lora.rank, shape) for shape in parameters_of(found.parameters, shapes).values())


def parameters_of(names: list[str], shapes: Shapes) -> dict[str, Shape]:
    """The tensors that `target_parameters` mean."""
    every = {**shapes, **stacks(shapes)}
    return {name: every[name] for target in names for name in matching(target, every)}


def parameters(tensors: Mapping[str, Tensor]) -> int:
    """Parameters of the model itself."""
    return sum(math.prod(tensor.shape) for tensor in tensors.values())


def _on_tensor(rank: int, shape: Shape) -> int:
    return rank * math.prod(shape[:-2]) * sum(shape[-2:]) if len(shape) in {2, 3} else 0
