"""Where an adapter sits: which modules and tensors of a model `lora` means, from their names and shapes.

Transformers 5 keeps all experts of a layer in one tensor for each projection (`mlp.experts.gate_up_proj`, `(experts, out, in)`,
`mlp.experts.down_proj`), which PEFT adapts as `target_parameters`. What a recipe means is worked out here, and PEFT gets
names that it takes as they are: by itself, PEFT 0.21 adapts experts and router of some mixtures under `all-linear`, and of
others neither.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lorry.recipe.lora import LoraSettings

if TYPE_CHECKING:
    from lorry.trainer.sources.tensors import Tensor

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]

_WEIGHT = re.compile(r"\.(weight|qweight)$")
_NOT_LINEAR = re.compile(
    r"(^|\.)(embed_(tokens|positions|in|out)|pos_embed|word_embeddings|wte|wpe|embeddings?|lm_head|output|score)(\.|$)"
    r"|\.(gate|router)(\.(wg|layer))?$",
    re.IGNORECASE,
)
"""Embeddings and routers, which are matrices too, and output layers, which PEFT's `all-linear` leaves out."""
_EXPERT = re.compile(r"^(.*\.experts)\.\d+\.(\w+)\.weight$")
"""An expert that a checkpoint stores by itself. Transformers 5 fuses them: no module of the model is one expert."""
_STACK = re.compile(r"\.experts\.\w+$")
ROUTERS = ("gate", "router")
"""What the modules are called that send tokens to experts."""
_FUSED = {
    **dict.fromkeys(("gate_proj", "up_proj", "w1", "w3", "gate_up_proj"), "gate_up_proj"),
    **dict.fromkeys(("down_proj", "w2"), "down_proj"),
}
"""What an expert's matrices are called in checkpoints and recipes, and the tensor of all experts that holds them."""
_HALVES = (("gate_proj", "up_proj"), ("w1", "w3"))
_RENAMED_AS_MIXTRAL = frozenset({"minimax", "minimax_m2", "mixtral"})
_RENAMED_AS_QWEN = frozenset(
    {
        *("afmoe", "beam", "cohere2_moe", "deepseek_v2", "deepseek_v3", "deepseek_v32", "dots1", "ernie4_5_moe"),
        *("exaone_moe", "flex_olmo", "glm4_moe", "glm4_moe_lite", "glm4v_moe", "glm_moe_dsa", "hunyuan_v1_moe"),
        *("longcat_flash", "mellum", "olmoe", "qwen3_moe", "qwen3_next", "qwen3_omni_moe", "qwen3_omni_moe_text"),
        *("qwen3_omni_moe_thinker", "solar_open"),
    }
)
"""Mixtures of which PEFT 0.21 takes certain module names for the experts', wherever else such modules are."""


@dataclass(frozen=True)
class Places:
    """What PEFT is told."""

    modules: list[str] | str
    """`target_modules`."""
    parameters: list[str] = field(default_factory=list[str])
    """`target_parameters`."""
    unreached: list[str] = field(default_factory=list[str])
    """Linear modules that are meant, but whose names PEFT takes for the experts'."""


def modules(tensors: Mapping[str, Tensor]) -> dict[str, Shape]:
    """Each module that has a weight, with the weight's shape; a mixture's experts are no modules of their own."""
    return _modules({name: tensor.shape for name, tensor in tensors.items()})


def linear(shapes: Shapes) -> dict[str, Shape]:
    """The modules that `all-linear` means."""
    return {name: shape for name, shape in shapes.items() if len(shape) == 2 and not _NOT_LINEAR.search(name)}


def matching(target: str, names: Iterable[str]) -> list[str]:
    """The modules that a target's name means, as PEFT reads it: the whole name, or its end after a dot."""
    return [name for name in names if name == target or name.endswith(f".{target}")]


def targeted(targets: list[str] | str, shapes: Shapes) -> dict[str, Shape]:
    """The modules that these names mean."""
    if targets == "all-linear":
        return linear(shapes)
    names = [name for target in targets for name in matching(target, shapes)]
    return {name: shapes[name] for name in names}


def stacks(shapes: Shapes) -> dict[str, Shape]:
    """The tensors that hold all experts of a layer, `(experts, out, in)` or `(experts, in, out)`.

    Of a checkpoint that stores each expert by itself, those that Transformers makes of them.
    """
    found = {name: shape for name, shape in shapes.items() if len(shape) == 3 and _STACK.search(name)}
    return found or _stacked(shapes)


def places(lora: LoraSettings, shapes: Shapes, model_type: str = "") -> Places:
    """Where the adapter of a model sits whose tensors have these names and shapes."""
    experts = stacks(shapes)
    if not experts:
        return Places(lora.target_modules, list(lora.target_parameters))
    plain = _modules(shapes)
    asked = lora.target_modules
    targets = _names_of(plain) if isinstance(asked, str) else asked
    parts = sorted({f"experts.{_leaf(name)}" for name in experts}) if lora.experts else []
    if not isinstance(asked, str):
        parts += _named(asked, plain, experts_too=lora.experts is None)
    taken = _taken_for_experts(model_type)
    meant = [target for target in targets if _leaf(target) not in taken]
    kept = [one for one in meant if matching(one, plain) or not expert_tensor(one)]
    return Places(
        [one for one in kept if not (_leaf(one) in ROUTERS and matching(one, plain))],
        list(dict.fromkeys([*parts, *lora.target_parameters])),
        [name for one in targets if _leaf(one) in taken for name in matching(one, linear(plain))],
    )


def names_experts(lora: LoraSettings) -> bool:
    """Whether the recipe asks for adapters on a mixture's experts."""
    if lora.experts is not None:
        return lora.experts
    named = [*lora.target_parameters, *(() if isinstance(lora.target_modules, str) else lora.target_modules)]
    return any(expert_tensor(name) for name in named)


def expert_tensor(target: str) -> str:
    """The tensor of all experts that a target's name means; "" where it means none, as `shared_expert.up_proj` does."""
    parent, _, leaf = target.rpartition(".")
    if leaf not in _FUSED or (parent and parent.rpartition(".")[2] != "experts"):
        return ""
    return f"{parent or 'experts'}.{_FUSED[leaf]}"


def trouble(lora: LoraSettings, found: Places) -> str:
    """Why PEFT 0.21 refuses the adapter in these places; "" where it does not."""
    if found.parameters and lora.dropout:
        return "experts take no adapter with dropout" if _has_experts(found) else "tensors take no adapter with dropout"
    if found.parameters and lora.dora:
        return "experts take no DoRA" if _has_experts(found) else "tensors take no DoRA"
    named = set() if isinstance(lora.target_modules, str) else {_leaf(name) for name in lora.target_modules}
    is_half = any(len(named & set(pair)) == 1 for pair in _HALVES)
    if is_half and lora.experts is None and any(name.endswith("gate_up_proj") for name in found.parameters):
        return "gate and up of the experts are one tensor: both are adapted, or none"
    if not found.modules and not found.parameters:
        return "nothing is left to adapt"
    return ""


def _modules(shapes: Shapes) -> dict[str, Shape]:
    named = {name: shape for name, shape in shapes.items() if _WEIGHT.search(name) and not _EXPERT.search(name)}
    return {_WEIGHT.sub("", name): shape for name, shape in named.items()}


def _names_of(plain: Shapes) -> list[str]:
    """Names that mean all linear modules and no others: the last parts of theirs, or a whole one that another module shares."""
    meant = linear(plain)
    others = {_leaf(name) for name in plain if name not in meant}
    return sorted({name if _leaf(name) in others else _leaf(name) for name in meant})


def _stacked(shapes: Shapes) -> dict[str, Shape]:
    """What becomes of experts that are stored by themselves: gate and up side by side, and all experts in one tensor."""
    single: dict[str, list[tuple[str, Shape]]] = {}
    for name, shape in shapes.items():
        one = _EXPERT.search(name)
        if one and one[2] in _FUSED and len(shape) == 2:
            single.setdefault(f"{one[1]}.{_FUSED[one[2]]}", []).append((one[2], shape))
    made: dict[str, Shape] = {}
    for name, parts in single.items():
        kinds = len({kind for kind, _ in parts})
        out, width = parts[0][1]
        made[name] = (len(parts) // kinds, kinds * out, width)
    return made


def _named(targets: Iterable[str], plain: Shapes, *, experts_too: bool) -> list[str]:
    """The tensors that names of modules mean: those of experts, and routers, which are no linear modules any more."""
    found: list[str] = []
    for target in targets:
        part = expert_tensor(target)
        if part and experts_too:
            found.append(part)
        elif _leaf(target) in ROUTERS and matching(target, plain):
            found.append(f"{target}.weight")
    return found


def _has_experts(found: Places) -> bool:
    return any("experts." in name for name in found.parameters)


def _taken_for_experts(model_type: str) -> frozenset[str]:
    if model_type in _RENAMED_AS_MIXTRAL:
        return frozenset({"gate", "w1", "w2", "w3"})
    if model_type in _RENAMED_AS_QWEN:
        return frozenset({"gate", "gate_proj", "up_proj", "down_proj"})
    return frozenset()


def _leaf(name: str) -> str:
    return name.rpartition(".")[2]
