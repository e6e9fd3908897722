"""Which weights an adapter sits on, and how large it is, from the names and shapes of the model's tensors."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from lorry.recipe.schema import LoraSettings

if TYPE_CHECKING:
    from lorry.trainer.sources.tensors import Tensor

_WEIGHT = re.compile(r"\.(weight|qweight)$")
_NOT_LINEAR = re.compile(
    r"(^|\.)(embed_tokens|embed_in|embed_out|lm_head|output|wte|wpe|embeddings?)(\.|$)", re.IGNORECASE
)
"""Embeddings, which are matrices too, and output layers, which PEFT's `all-linear` leaves out."""


def modules(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Each module that has a weight, with the weight's shape."""
    return {_WEIGHT.sub("", name): tensor.shape for name, tensor in tensors.items() if _WEIGHT.search(name)}


def linear(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """The modules that `all-linear` means."""
    return {name: shape for name, shape in shapes.items() if len(shape) == 2 and not _NOT_LINEAR.search(name)}


def matching(target: str, names: Iterable[str]) -> list[str]:
    """The modules that a target's name means, as PEFT reads it: the whole name, or its end after a dot."""
    return [name for name in names if name == target or name.endswith(f".{target}")]


def targeted(lora: LoraSettings, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """The modules that the adapter sits on."""
    if lora.target_modules == "all-linear":
        return linear(shapes)
    names = [name for target in lora.target_modules for name in matching(target, shapes)]
    return {name: shapes[name] for name in names}


def lora_parameters(lora: LoraSettings, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Parameters of the adapter: `r * (in + out)` for each matrix (arXiv 2106.09685), and `out` more with DoRA."""
    matrices = [shape for shape in targeted(lora, shapes).values() if len(shape) == 2]
    return sum(lora.rank * (shape[0] + shape[1]) + (shape[0] if lora.dora else 0) for shape in matrices)


def parameters(tensors: Mapping[str, Tensor]) -> int:
    """Parameters of the model, as stored: of a checkpoint that comes quantised, packed words are counted."""
    return sum(math.prod(tensor.shape) for tensor in tensors.values())
