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
    r"(^|\.)(embed_(tokens|positions|in|out)|pos_embed|word_embeddings|wte|wpe|embeddings?|lm_head|output|score)(\.|$)"
    r"|\.(gate|router)$",
    re.IGNORECASE,
)
"""Embeddings and routers, which are matrices too, and output layers, which PEFT's `all-linear` leaves out."""
_EXPERT = re.compile(r"\.experts\.\d+\.")
"""An expert that a checkpoint stores by itself. Transformers 5 fuses them: no module of the model is one expert."""
_TRANSPOSED = frozenset({"gpt2"})
"""Models whose matrices are `(in, out)`: Transformers' Conv1D."""
_FUSED = {"gate": "gate.weight", "gate_proj": "gate_up_proj", "up_proj": "gate_up_proj", "down_proj": "down_proj"}
_ON_EXPERTS = {
    "deepseek_v3": _FUSED,
    "glm4_moe": _FUSED,
    "mixtral": {"gate": "gate.weight", "w1": "gate_up_proj", "w3": "gate_up_proj", "w2": "down_proj"},
    "olmoe": _FUSED,
    "qwen3_moe": _FUSED,
}
"""Mixtures whose experts and routers PEFT 0.21 adapts under the names of their former modules, and where those are now.

In all others (Qwen2-MoE, Qwen3-VL-MoE, gpt-oss, Granite) it leaves the experts as they are.
"""


SCORE = "score.weight"
"""The scalar head of a reward model."""
_OUTPUT = re.compile(r"(^|\.)lm_head\.")


def with_score(tensors: Mapping[str, Tensor], hidden: int) -> dict[str, Tensor]:
    """The tensors of a model with a scalar head, one number for `hidden`, in the place of its output layer."""
    from lorry.trainer.sources.tensors import Tensor

    kept = {name: tensor for name, tensor in tensors.items() if not _OUTPUT.search(name)}
    return {**kept, SCORE: Tensor((1, hidden))}


def modules(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Each module that has a weight, with the weight's shape; a mixture's experts are no modules of their own."""
    return {
        _WEIGHT.sub("", name): tensor.shape
        for name, tensor in tensors.items()
        if _WEIGHT.search(name) and not _EXPERT.search(name)
    }


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


def lora_parameters(lora: LoraSettings, shapes: Mapping[str, tuple[int, ...]], model_type: str = "") -> int:
    """Parameters of the adapter: `r * (in + out)` for each matrix (arXiv 2106.09685), and `out` more with DoRA."""
    matrices = [shape for shape in targeted(lora, shapes).values() if len(shape) == 2]
    out = 1 if model_type in _TRANSPOSED else 0
    return sum(lora.rank * (shape[0] + shape[1]) + (shape[out] if lora.dora else 0) for shape in matrices)


def adapter_parameters(lora: LoraSettings, tensors: Mapping[str, Tensor], model_type: str) -> int:
    """Parameters of the adapter that PEFT 0.21 makes, those on the experts of mixtures among them.

    `tensors` are named as Transformers names them: of a mixture take the blueprint, for its files may store each expert by
    itself. Every expert gets matrices of its own; gate and up are one parameter, which gets twice the rank. A scalar head is
    trained as a whole.
    """
    shapes = modules(tensors)
    whole = math.prod(tensors[SCORE].shape) if SCORE in tensors else 0
    parts = expert_parts(lora, model_type)
    if not parts:
        return whole + lora_parameters(lora, shapes, model_type)
    rest = [target for target in _targets(lora, linear(shapes)) if _leaf(target) not in _ON_EXPERTS[model_type]]
    dense = lora_parameters(lora.model_copy(update={"target_modules": rest}), shapes)
    return (
        whole
        + dense
        + sum(
            lora.rank * parts.count(part) * math.prod(tensor.shape[:-2]) * sum(tensor.shape[-2:])
            for part in set(parts)
            for name, tensor in tensors.items()
            if name.endswith(f".{part}")
        )
    )


def expert_parts(lora: LoraSettings, model_type: str) -> list[str]:
    """The parameters of a mixture's experts and routers that PEFT 0.21 adapts, once for each target that means them.

    [] where it leaves the experts as they are, and for dense models.
    """
    moved = _ON_EXPERTS.get(model_type, {})
    return [moved[_leaf(target)] for target in _targets(lora, moved) if _leaf(target) in moved]


def expert_trouble(lora: LoraSettings, model_type: str) -> str:
    """Why PEFT 0.21 refuses to adapt this mixture's experts with these settings; "" where it does not."""
    parts = expert_parts(lora, model_type)
    if parts and lora.dropout:
        return "experts take no adapter with dropout"
    if parts and lora.dora:
        return "experts take no DoRA"
    if parts.count("gate_up_proj") == 1:
        return "gate and up of the experts are one parameter: both are adapted, or none"
    return ""


def _targets(lora: LoraSettings, names: Iterable[str]) -> list[str]:
    """The targets by name; `all-linear` means the last parts of all names that are given."""
    if lora.target_modules != "all-linear":
        return list(lora.target_modules)
    return sorted({_leaf(name) for name in names})


def _leaf(name: str) -> str:
    return name.rpartition(".")[2]


def parameters(tensors: Mapping[str, Tensor]) -> int:
    """Parameters of the model, as stored: of a checkpoint that comes quantised, packed words are counted."""
    return sum(math.prod(tensor.shape) for tensor in tensors.values())
