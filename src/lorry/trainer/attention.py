"""Attention over a forest, as an attention function that Transformers' models call.

The sequence of a forest goes through the model as one row, so linear layers, norms and activations compute each token
once and no padding. Here alone the tree matters. A group of segments is computed as one batch: queries `(B, heads,
Lq, D)` are the segments' own tokens, keys and values `(B, heads, P + Lq, D)` their path above, expanded to the batch,
and their own. Autograd adds the branches' gradients up into the one copy. Models called without a forest (generation)
get Transformers' own SDPA.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from lorry.trainer.forest import Forest, Segment, lineage

NAME = "lorry_forest"


@dataclass
class Group:
    """Segments whose attention is computed together; their tokens stand side by side in the sequence."""

    segments: range
    above: list[int]
    """Segments of the path that all of them continue, from the root down."""
    before: int
    """Tokens of that path, `P`."""
    shape: tuple[int, int]
    """B and Lq."""
    padded: torch.Tensor | None
    """`(B * Lq,)` places in the group's tokens, padding repeats a token; None where all are of one length."""
    own: torch.Tensor | None
    """`(tokens,)` which of the B * Lq places are tokens."""
    masks: dict[tuple[int | None, torch.dtype], torch.Tensor] = field(default_factory=dict)

    def mask(self, window: int | None, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        """What a query must not see, as -inf, `(1, 1, Lq, P + Lq)`; kept for the layers to come."""
        if (window, dtype) not in self.masks:
            query = torch.arange(self.shape[1], device=device)[:, None] + self.before
            key = torch.arange(self.before + self.shape[1], device=device)
            unseen = key > query
            if window is not None:
                unseen |= key <= query - window
            mask = torch.zeros(unseen.shape, dtype=dtype, device=device).masked_fill_(unseen, float("-inf"))
            self.masks[window, dtype] = mask[None, None]
        return self.masks[window, dtype]


@dataclass
class Layout:
    """How a forest's attention is computed: the lengths of its segments, and its groups."""

    lengths: list[int]
    groups: list[Group]


def lay_out(forest: Forest, device: torch.device) -> Layout:
    """The layout of a forest, with its index tensors on `device`."""
    groups = [_group(forest.segments, group, device) for group in forest.groups]
    return Layout([segment.length for segment in forest.segments], groups)


def forest_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of a model's layer: `query` is `(1, heads, T, D)`, the result `(1, T, heads, D)`."""
    layout: Layout | None = kwargs.pop("forest_layout", None)
    if layout is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    queries, keys, values = (_Blocks(part[0].transpose(0, 1), layout) for part in (query, key, value))
    results: list[torch.Tensor] = []
    for at, group in enumerate(layout.groups):
        result = _attend(group, queries.batch(at), (keys.path(at), values.path(at)), kwargs)
        flat = result.transpose(1, 2).flatten(0, 1)
        results.append(flat if group.own is None else _Unpad.apply(flat, group.own, group.padded))
    return torch.cat(results)[None], None


def register() -> None:
    """Makes the function known to Transformers under `NAME`."""
    AttentionInterface.register(NAME, forest_attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)


class _Blocks:
    """Queries, keys or values of a layer, `(T, heads, D)`, cut where groups and segments meet."""

    def __init__(self, flat: torch.Tensor, layout: Layout) -> None:
        self._layout = layout
        parents = {index for group in layout.groups for index in group.above}
        sizes = [[layout.lengths[index] for index in group.segments] for group in layout.groups]
        self._blocks = list(flat.split([sum(part) for part in sizes]))
        self._segments: dict[int, torch.Tensor] = {}
        for at, group in enumerate(layout.groups):
            if not parents.isdisjoint(group.segments):
                self._segments |= dict(zip(group.segments, self._blocks[at].split(sizes[at]), strict=True))

    def batch(self, at: int) -> torch.Tensor:
        """The group's own tokens, `(B, heads, Lq, D)`."""
        group = self._layout.groups[at]
        block = self._blocks[at]
        if group.padded is not None:
            block = _Pad.apply(block, group.padded, group.own)
        return block.view(*group.shape, *block.shape[1:]).transpose(1, 2)

    def path(self, at: int) -> torch.Tensor:
        """The group's path above, expanded to the batch, and its own tokens, `(B, heads, P + Lq, D)`."""
        group = self._layout.groups[at]
        own = self.batch(at)
        if not group.above:
            return own
        above = torch.cat([self._segments[index] for index in group.above]).transpose(0, 1)
        return torch.cat([above.expand(own.shape[0], *above.shape), own], dim=2)


def _attend(
    group: Group, query: torch.Tensor, path: tuple[torch.Tensor, torch.Tensor], kwargs: dict[str, Any]
) -> torch.Tensor:
    """Results of one group, `(B, heads, Lq, D)`."""
    window = kwargs.get("sliding_window")
    window = window if window is not None and window < path[0].shape[2] else None
    is_causal = not group.before and window is None
    repeats = query.shape[1] // path[0].shape[1]
    if repeats > 1 and not has_grouped_kernel(query.device, query.dtype, is_masked=not is_causal):
        path = (path[0].repeat_interleave(repeats, dim=1), path[1].repeat_interleave(repeats, dim=1))
    return scaled_dot_product_attention(
        query,
        *path,
        attn_mask=None if is_causal else group.mask(window, query.dtype, query.device),
        dropout_p=kwargs.get("dropout", 0.0),
        is_causal=is_causal,
        scale=kwargs.get("scaling"),
        enable_gqa=query.shape[1] != path[0].shape[1],
    )


def has_grouped_kernel(device: torch.device, dtype: torch.dtype, *, is_masked: bool) -> bool:
    """Whether SDPA has a kernel here for fewer heads of keys than of queries.

    On CUDA that is FlashAttention alone, which takes 16 bits and no mask and needs Ampere; elsewhere SDPA would fall back
    to its plain path, which keeps the scores of all heads (transformers.integrations.sdpa_attention says the same).
    """
    if device.type != "cuda":
        return True
    return not is_masked and dtype != torch.float32 and torch.cuda.get_device_capability(device) >= (8, 0)


class _Pad(torch.autograd.Function):
    """Tokens side by side to segments of one length. What padding receives is no gradient of a token, and is dropped.

    A plain gather would add padding's gradients up in its backward pass, which costs more than the attention itself.
    """

    @staticmethod
    def forward(ctx: Any, block: torch.Tensor, padded: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(own)
        return block.index_select(0, padded)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None]:  # type: ignore[override]
        return grad.index_select(0, ctx.saved_tensors[0]), None, None


class _Unpad(torch.autograd.Function):
    """Segments of one length to tokens side by side; padding's result had no use, so its gradient is zero."""

    @staticmethod
    def forward(ctx: Any, flat: torch.Tensor, own: torch.Tensor, padded: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(own)
        ctx.places = len(padded)
        return flat.index_select(0, own)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None]:  # type: ignore[override]
        padded = grad.new_zeros(ctx.places, *grad.shape[1:])
        return padded.index_copy_(0, ctx.saved_tensors[0], grad), None, None


def _group(segments: list[Segment], group: range, device: torch.device) -> Group:
    lengths = np.asarray([segments[index].length for index in group])
    wide = int(lengths.max())
    above = lineage(segments, segments[group[0]].parent)
    padded = own = None
    if (lengths != wide).any():
        column = np.arange(wide)
        first = np.cumsum(lengths) - lengths
        places = first[:, None] + np.minimum(column, lengths[:, None] - 1)
        padded = torch.from_numpy(places.ravel()).to(device)
        own = torch.from_numpy(np.flatnonzero(column < lengths[:, None])).to(device)
    before = sum(segments[index].length for index in above)
    return Group(group, above, before, (len(group), wide), padded, own)
