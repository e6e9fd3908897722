"""The adapter, as a recipe asks for it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from lorry.recipe.section import Name, Names, Section


class LoraSettings(Section):
    """The adapter. `lora: null` in a recipe trains all weights instead."""

    rank: int = Field(default=16, ge=1, le=4096)
    """Width of the adapter's two matrices."""
    alpha: float = Field(default=32, gt=0)
    """The adapter's output is scaled by alpha / rank (alpha / sqrt(rank) with `rslora`)."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of the adapter's inputs dropped while training; above 0 rows cannot share their beginnings."""
    target_modules: Literal["all-linear"] | Names = "all-linear"
    """`all-linear`, or names of modules as they end: `[q_proj, v_proj]`."""
    experts: bool | None = None
    """Of a mixture: whether each expert gets an adapter of its own, which is large. Null: where `target_modules` names their
    projections (`gate_proj`, `w1`, ...). `all-linear` alone means what every token passes: attention, shared experts, dense
    layers. The router gets none unless it is named (`gate`)."""
    target_parameters: list[Name] = Field(default_factory=list[str])
    """Tensors that get an adapter besides, as their names end (`experts.down_proj`): for what is no linear module."""
    rslora: bool = False
    """Rank-stabilised scaling (arXiv 2312.03732)."""
    dora: bool = False
    """Weight-decomposed adaptation (arXiv 2402.09353): slower, at times better at low ranks."""
    projector: bool = False
    """Adapts what leads from a vision model's images to its text, too; else it stays as it is."""
    vision: bool = False
    """Adapts the part of a vision model that reads images, too: more memory, for images unlike those that it knows."""
