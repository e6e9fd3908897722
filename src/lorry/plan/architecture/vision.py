"""The parts of a vision-language model beside its decoder: the tower that reads the image, and the joint to the text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from lorry.plan.architecture.decoder import Shapes, linear, norm
from lorry.plan.architecture.family import Settings


@dataclass(frozen=True)
class Tower:
    """A vision encoder: how its tensors are made, and under which names its sizes stand in the configuration."""

    tensors: Callable[[Settings], Shapes]
    defaults: dict[str, Any] = field(default_factory=dict[str, Any])
    layers: str = "num_hidden_layers"
    hidden: str = "hidden_size"
    heads: str = "num_attention_heads"
    gated: bool = False
    """Whether its MLPs have a gate, and its norms are root mean squares."""


@dataclass(frozen=True)
class VisionFamily:
    """All vision-language models of one `model_type`."""

    joint: Callable[[Settings, Settings, int], Shapes]
    """What leads from the tower to the text, from the whole configuration, the tower's and the text's hidden size."""
    tower: Tower | None = None
    """None where the configuration names it by `vision_config.model_type`."""
    tower_path: str = "vision_tower"
    text: str = ""
    """The decoder's `model_type`; empty where `text_config` names it."""
    text_path: str = "language_model"
    tied: bool = False
    """What `tie_word_embeddings` is where the configuration does not say."""
    tied_by_text: bool = False
    """Whether the text part's `tie_word_embeddings` ties, too."""
    merged: Callable[[Settings, Settings], int] = lambda config, vision: 1  # noqa: ARG005
    """Patches that become one token, from the whole configuration and the tower's."""


def tower_of(family: VisionFamily, config: Settings) -> tuple[Tower, Settings] | None:
    """The tower and its settings; None for one that lorry does not know."""
    given: Settings = config.get("vision_config") or {}
    tower = family.tower or TOWERS.get(given.get("model_type", "clip_vision_model"))
    return (tower, {**tower.defaults, **given}) if tower else None


def _clip(vision: Settings) -> Shapes:
    hidden: int = vision["hidden_size"]
    yield "embeddings.class_embedding", (hidden,)
    yield "embeddings.patch_embedding.weight", _patch(hidden, vision)
    yield "embeddings.position_embedding.weight", (patches(vision) + 1, hidden)
    yield from norm("pre_layrnorm", hidden, bias=True)  # spelt so in Transformers
    yield from _encoder(vision)


def _siglip(vision: Settings) -> Shapes:
    hidden: int = vision["hidden_size"]
    yield "embeddings.patch_embedding.weight", _patch(hidden, vision)
    yield "embeddings.patch_embedding.bias", (hidden,)
    yield "embeddings.position_embedding.weight", (patches(vision), hidden)
    yield from _encoder(vision)
    if vision.get("vision_use_head"):
        yield "head.probe", (1, 1, hidden)
        yield "head.attention.in_proj_weight", (3 * hidden, hidden)
        yield "head.attention.in_proj_bias", (3 * hidden,)
        yield from linear("head.attention.out_proj", hidden, hidden, bias=True)
        yield from norm("head.layernorm", hidden, bias=True)
        yield from _two("head.mlp.fc1", "head.mlp.fc2", hidden, vision["intermediate_size"])


def patches(vision: Settings) -> int:
    """Patches of one image, for towers that see all images at one size."""
    return (_edge(vision["image_size"]) // _edge(vision["patch_size"])) ** 2


def _encoder(vision: Settings) -> Shapes:
    hidden: int = vision["hidden_size"]
    for layer in range(vision["num_hidden_layers"]):
        path = f"encoder.layers.{layer}"
        yield from norm(f"{path}.layer_norm1", hidden, bias=True)
        yield from norm(f"{path}.layer_norm2", hidden, bias=True)
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            yield from linear(f"{path}.self_attn.{name}", hidden, hidden, bias=True)
        yield from _two(f"{path}.mlp.fc1", f"{path}.mlp.fc2", hidden, vision["intermediate_size"])
    yield from norm("post_layernorm", hidden, bias=True)


def _qwen2_tower(vision: Settings) -> Shapes:
    hidden, width = vision["embed_dim"], vision["embed_dim"] * vision["mlp_ratio"]
    yield "patch_embed.proj.weight", _patch_in_time(hidden, vision)
    for path in _qwen_blocks(vision):
        yield from _qwen_attention(path, hidden, norm_bias=True)
        yield from _two(f"{path}.mlp.fc1", f"{path}.mlp.fc2", hidden, width)
    yield from _qwen2_merger(vision, hidden, vision["hidden_size"], norm_bias=True)


def _qwen25_tower(vision: Settings) -> Shapes:
    hidden, width = vision["hidden_size"], vision["intermediate_size"]
    yield "patch_embed.proj.weight", _patch_in_time(hidden, vision)
    for path in _qwen_blocks(vision):
        yield from _qwen_attention(path, hidden, norm_bias=False)
        yield from linear(f"{path}.mlp.gate_proj", width, hidden, bias=True)
        yield from _two(f"{path}.mlp.up_proj", f"{path}.mlp.down_proj", hidden, width)
    yield from _qwen2_merger(vision, hidden, vision["out_hidden_size"], norm_bias=False)


def _qwen3_tower(vision: Settings) -> Shapes:
    hidden: int = vision["hidden_size"]
    yield "patch_embed.proj.weight", _patch_in_time(hidden, vision)
    yield "patch_embed.proj.bias", (hidden,)
    yield "pos_embed.weight", (vision["num_position_embeddings"], hidden)
    for path in _qwen_blocks(vision):
        yield from _qwen_attention(path, hidden, norm_bias=True)
        yield from _two(f"{path}.mlp.linear_fc1", f"{path}.mlp.linear_fc2", hidden, vision["intermediate_size"])
    yield from _qwen3_merger("merger", vision, norm_width=hidden)
    for number in range(len(vision["deepstack_visual_indexes"])):
        path = f"deepstack_merger_list.{number}"
        yield from _qwen3_merger(path, vision, norm_width=hidden * _merged(vision))


def _qwen_blocks(vision: Settings) -> Iterator[str]:
    return (f"blocks.{layer}" for layer in range(vision["depth"]))


def _qwen_attention(path: str, hidden: int, *, norm_bias: bool) -> Shapes:
    yield from norm(f"{path}.norm1", hidden, bias=norm_bias)
    yield from norm(f"{path}.norm2", hidden, bias=norm_bias)
    yield from linear(f"{path}.attn.qkv", 3 * hidden, hidden, bias=True)
    yield from linear(f"{path}.attn.proj", hidden, hidden, bias=True)


def _qwen2_merger(vision: Settings, hidden: int, out: int, *, norm_bias: bool) -> Shapes:
    wide = hidden * _merged(vision)
    yield from norm("merger.ln_q", hidden, bias=norm_bias)
    yield from linear("merger.mlp.0", wide, wide, bias=True)
    yield from linear("merger.mlp.2", out, wide, bias=True)


def _qwen3_merger(path: str, vision: Settings, *, norm_width: int) -> Shapes:
    wide = vision["hidden_size"] * _merged(vision)
    yield from norm(f"{path}.norm", norm_width, bias=True)
    yield from linear(f"{path}.linear_fc1", wide, wide, bias=True)
    yield from linear(f"{path}.linear_fc2", vision["out_hidden_size"], wide, bias=True)


def _two(first: str, second: str, hidden: int, width: int) -> Shapes:
    """A plain MLP."""
    yield from linear(first, width, hidden, bias=True)
    yield from linear(second, hidden, width, bias=True)


def _merged(vision: Settings) -> int:
    """Patches that become one token in Qwen's towers."""
    return vision["spatial_merge_size"] ** 2


def _merged_by_qwen(config: Settings, vision: Settings) -> int:  # noqa: ARG001 - all are called alike
    return _merged(vision)


def _shuffled(config: Settings, vision: Settings) -> int:  # noqa: ARG001 - all are called alike
    return config.get("scale_factor", 2) ** 2


def _pooled(config: Settings, vision: Settings) -> int:
    return patches(vision) // config.get("mm_tokens_per_image", 256)


def _patch(hidden: int, vision: Settings) -> tuple[int, ...]:
    edge = _edge(vision["patch_size"])
    return hidden, vision.get("num_channels", 3), edge, edge


def _patch_in_time(hidden: int, vision: Settings) -> tuple[int, ...]:
    edge = _edge(vision["patch_size"])
    return hidden, vision.get("in_channels", 3), _edge(vision["temporal_patch_size"]), edge, edge


def _edge(size: Any) -> int:
    """The edge of a square, which may be given twice."""
    return size if isinstance(size, int) else size[0]


def _no_joint(config: Settings, vision: Settings, text_hidden: int) -> Shapes:  # noqa: ARG001 - the tower ends in one
    yield from ()


def _two_layers(config: Settings, vision: Settings, text_hidden: int) -> Shapes:
    bias: bool = config.get("multimodal_projector_bias", True)
    chosen = config.get("vision_feature_layer")
    layers = len(chosen) if isinstance(chosen, (list, tuple)) else 1
    into = vision["hidden_size"] * layers
    yield from linear("multi_modal_projector.linear_1", text_hidden, into, bias=bias)
    yield from linear("multi_modal_projector.linear_2", text_hidden, text_hidden, bias=bias)


def _two_layers_and_newline(config: Settings, vision: Settings, text_hidden: int) -> Shapes:
    yield "image_newline", (text_hidden,)
    yield from _two_layers(config, vision, text_hidden)


def _normed_matrix(config: Settings, vision: Settings, text_hidden: int) -> Shapes:  # noqa: ARG001 - all joints are called alike
    yield "multi_modal_projector.mm_input_projection_weight", (vision["hidden_size"], text_hidden)
    yield from norm("multi_modal_projector.mm_soft_emb_norm", vision["hidden_size"], bias=False)


def _shuffled_matrix(config: Settings, vision: Settings, text_hidden: int) -> Shapes:
    wide = vision["hidden_size"] * _shuffled(config, vision)
    yield from linear("connector.modality_projection.proj", text_hidden, wide, bias=False)


_PATCHES = {"in_channels": 3, "temporal_patch_size": 2, "spatial_merge_size": 2, "num_heads": 16}
_QWEN2 = Tower(
    _qwen2_tower,
    {**_PATCHES, "depth": 32, "embed_dim": 1280, "hidden_size": 3584, "mlp_ratio": 4, "patch_size": 14},
    layers="depth",
    hidden="embed_dim",
    heads="num_heads",
)
_QWEN25 = Tower(
    _qwen25_tower,
    {
        **_PATCHES,
        "depth": 32,
        "hidden_size": 3584,
        "intermediate_size": 3420,
        "patch_size": 14,
        "out_hidden_size": 3584,
    },
    layers="depth",
    heads="num_heads",
    gated=True,
)
_QWEN3 = Tower(
    _qwen3_tower,
    {
        **_PATCHES,
        "depth": 27,
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "patch_size": 16,
        "out_hidden_size": 3584,
        "num_position_embeddings": 2304,
        "deepstack_visual_indexes": [8, 16, 24],
    },
    layers="depth",
    heads="num_heads",
)
_SMALL = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "image_size": 224,
}
_IDEFICS3 = Tower(_siglip, {**_SMALL, "hidden_size": 1152, "num_attention_heads": 16, "patch_size": 32})

TOWERS: dict[str, Tower] = {
    "clip_vision_model": Tower(_clip, {**_SMALL, "patch_size": 32}),
    "siglip_vision_model": Tower(_siglip, {**_SMALL, "patch_size": 16, "vision_use_head": True}),
}
"""Towers that configurations name, by `vision_config.model_type`."""

VISION: dict[str, VisionFamily] = {
    "gemma3": VisionFamily(_normed_matrix, text="gemma3_text", tied=True, merged=_pooled),
    "idefics3": VisionFamily(_shuffled_matrix, _IDEFICS3, "vision_model", text_path="text_model", merged=_shuffled),
    "llava": VisionFamily(_two_layers, tied_by_text=True),
    "llava_next": VisionFamily(_two_layers_and_newline),
    "qwen2_5_vl": VisionFamily(
        _no_joint, _QWEN25, "visual", "qwen2_5_vl_text", tied_by_text=True, merged=_merged_by_qwen
    ),
    "qwen2_vl": VisionFamily(_no_joint, _QWEN2, "visual", "qwen2_vl_text", tied_by_text=True, merged=_merged_by_qwen),
    "qwen3_vl": VisionFamily(_no_joint, _QWEN3, "visual", "qwen3_vl_text", merged=_merged_by_qwen),
    "qwen3_vl_moe": VisionFamily(_no_joint, _QWEN3, "visual", "qwen3_vl_moe_text", merged=_merged_by_qwen),
    "smolvlm": VisionFamily(_shuffled_matrix, _IDEFICS3, "vision_model", text_path="text_model", merged=_shuffled),
}
"""By `model_type`."""
