"""What of a model's architecture decides how much memory it needs and how fast it trains."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lorry.plan.architecture.blueprint import blueprint, is_tied, text_part, text_root
from lorry.plan.architecture.decoder import widths
from lorry.plan.architecture.family import Attention, Family, Settings, holds
from lorry.plan.architecture.vision import VISION, patches, tower_of

if TYPE_CHECKING:
    from lorry.trainer.sources.tensors import Tensor


@dataclass(frozen=True)
class VisionShape:
    """The tower that reads images. Widths are numbers of values, as in `ModelShape`."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    patches: int | None
    """Patches of one image; of one tile where images are cut into tiles; None where they grow with the image."""
    tokens: int | None
    """Tokens that those patches become in the text; None where they grow with the image."""
    pixels_per_token: int
    """Pixels that become one token, on average: 784 (28 x 28) in Qwen2.5-VL."""
    parameters: int
    """Of the tower, and of what joins it to the text."""
    patches_per_token: int = 1
    """Patches that become one token of the text."""
    gated: bool = False
    """Whether its MLPs have a gate, and its norms are root mean squares, of which autograd keeps twice as much."""
    deep_layers: int = 0
    """Layers of the tower whose features are handed to the text besides (Qwen3-VL)."""


@dataclass(frozen=True)
class ModelShape:
    """Sizes of a model. Widths are numbers of values; parameters are counted as Transformers holds them, unquantised."""

    model_type: str
    layers: int
    hidden: int
    """Width of a token between layers."""
    heads: int
    kv_heads: int
    """Heads that keys and values have; `heads` for DeepSeek's latent attention, which trains on all of them."""
    head_dim: int
    """Width of one head of a query or key."""
    intermediate: int
    """Width inside of a dense MLP; 0 where every layer is a mixture of experts."""
    mlp_matrices: int
    """Matrices of hidden times intermediate in an MLP: 3 where it is gated, else 2."""
    norms: int
    """Norms as wide as `hidden` that a layer computes."""
    qk_norm: bool
    """Whether queries and keys are normed."""
    vocabulary: int
    """Logits of one token."""
    tied: bool
    """Whether the output layer is the embeddings."""
    sparse_layers: int
    """Layers that are mixtures of experts."""
    experts: int
    """Experts of such a layer; 0 in dense models, as the next three."""
    active_experts: int
    """Experts that compute one token, shared ones not counted."""
    expert_intermediate: int
    shared_intermediate: int
    """Width inside of the expert that sees every token; 0 where there is none."""
    vision: VisionShape | None
    """None for a model that reads text only."""
    parameters: int
    embedding_parameters: int
    """Of the token embeddings and learned positions: looked up, not multiplied."""
    expert_parameters: int
    """Of all routed experts: these stay 16-bit under `4bit`, for Transformers 5 does not hold them as linear layers."""
    active_parameters: int
    """What multiplies one text token on its way: the output layer counts, tied or not; lookups, experts that it does not
    reach and the vision part do not. The N of FLOPs a token.
    """


def model_shape(config: Settings) -> ModelShape | None:
    """The shape of the model of a config.json; None for a `model_type` that lorry does not know."""
    part, tensors = text_part(config), blueprint(config)
    if part is None or tensors is None:
        return None
    settings, family = part
    size, experts = widths(settings, family), family.experts
    sparse = sum(family.has_experts(settings, layer) for layer in range(size.layers))
    norm = family.attention.norm if isinstance(family.attention, Attention) else None
    root, tied = text_root(config, family), is_tied(config)
    embedding, routed, seen = (_count(tensors, kind, root, family) for kind in ("embedding", "experts", "vision"))
    count = settings["num_experts"] if experts and sparse else 0
    active = settings["num_experts_per_tok"] if count else 0
    table = size.vocabulary * size.embedding if tied else 0
    return ModelShape(
        model_type=config["model_type"],
        layers=size.layers,
        hidden=size.hidden,
        heads=size.heads,
        kv_heads=size.kv_heads,
        head_dim=size.head_dim,
        intermediate=size.intermediate if sparse < size.layers else 0,
        mlp_matrices=family.mlp.matrices,
        norms=len(family.norms_of(settings)),
        qk_norm=norm is not None and holds(norm.when, settings),
        vocabulary=size.vocabulary,
        tied=tied,
        sparse_layers=sparse,
        experts=count,
        active_experts=active,
        expert_intermediate=settings[experts.width] if experts and count else 0,
        shared_intermediate=experts.shared_width(settings) if experts and experts.shared_width and count else 0,
        vision=_vision(config, seen),
        parameters=_total(tensors),
        embedding_parameters=embedding,
        expert_parameters=routed,
        active_parameters=_total(tensors) - embedding + table - seen - routed + routed * active // max(count, 1),
    )


def _total(tensors: Mapping[str, Tensor]) -> int:
    return sum(math.prod(tensor.shape) for tensor in tensors.values())


def _count(tensors: Mapping[str, Tensor], kind: str, root: str, family: Family) -> int:
    """Parameters of the embeddings, of the routed experts, or of what belongs to vision."""
    lookups = {f"{root}.{name}.weight" for name in (family.embedding, family.positions) if name}
    belongs = {
        "embedding": lambda name: name in lookups,
        "experts": lambda name: ".experts." in name,
        "vision": lambda name: not name.startswith((f"{root}.", "lm_head.")),
    }[kind]
    return _total({name: tensor for name, tensor in tensors.items() if belongs(name)})


def _vision(config: Settings, parameters: int) -> VisionShape | None:
    family = VISION.get(config["model_type"])
    found = tower_of(family, config) if family else None
    if family is None or found is None:
        return None
    tower, vision = found
    hidden: int = vision[tower.hidden]
    seen = patches(vision) if "image_size" in vision else None
    merged = family.merged(config, vision)
    edge = vision["patch_size"]
    return VisionShape(
        layers=vision[tower.layers],
        hidden=hidden,
        intermediate=vision.get("intermediate_size") or hidden * vision["mlp_ratio"],
        heads=vision[tower.heads],
        patches=seen,
        tokens=None if seen is None else seen // merged,
        pixels_per_token=edge**2 * merged,
        parameters=parameters,
        patches_per_token=merged,
        gated=tower.gated,
        deep_layers=len(vision.get("deepstack_visual_indexes") or ()),
    )
