"""In what decoders differ: the words in which `families.py` describes each `model_type`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Settings = Mapping[str, Any]
"""A configuration with the names of this file, and with what it leaves out filled in."""
Fact = bool | str
"""True, False, or the name of the setting that decides."""


def holds(fact: Fact, settings: Settings) -> bool:
    """Whether a fact is so in this configuration."""
    return bool(settings.get(fact)) if isinstance(fact, str) else fact


@dataclass(frozen=True)
class QkNorm:
    """The norms of queries and keys."""

    over: str = "head"
    """`head`: one weight for all heads; `width`: over all heads at once; `heads`, `list`: a weight for each head, as one
    matrix or as many vectors.
    """
    names: tuple[str, str] = ("q_norm", "k_norm")
    when: Fact = True
    bias: bool = False


@dataclass(frozen=True)
class Attention:
    """Queries, keys and values; where `inputs` has one name, one matrix holds all three."""

    path: str = "self_attn"
    inputs: tuple[str, ...] = ("q_proj", "k_proj", "v_proj")
    output: str = "o_proj"
    bias: Fact = False
    output_bias: Fact = False
    norm: QkNorm | None = None
    sinks: bool = False
    """Whether each head has a learned logit that takes attention away from all tokens."""


@dataclass(frozen=True)
class LatentAttention:
    """Attention whose queries, keys and values come out of narrow matrices (DeepSeek's MLA, arXiv 2405.04434)."""

    path: str = "self_attn"
    bias: Fact = "attention_bias"


@dataclass(frozen=True)
class Mlp:
    """The matrices of a layer's MLP: `inputs` widen, `output` narrows again; `fused`: one matrix is gate and up."""

    path: str = "mlp"
    inputs: tuple[str, ...] = ("gate_proj", "up_proj")
    output: str = "down_proj"
    fused: bool = False
    bias: Fact = False

    @property
    def matrices(self) -> int:
        """Matrices of hidden times intermediate: 3 for a gated MLP, 2 for a plain one."""
        return len(self.inputs) + self.fused + 1


@dataclass(frozen=True)
class Experts:
    """A mixture of experts. Transformers 5 holds all experts' gate and up as one parameter, and all their downs as another.

    In checkpoints most families store each expert apart: `mlp.experts.7.gate_proj.weight`, Mixtral
    `block_sparse_moe.experts.7.w1.weight`, Granite `block_sparse_moe.input_linear.weight`. gpt-oss stores 4-bit blocks and
    their scales.
    """

    path: str = "mlp"
    width: str = "moe_intermediate_size"
    """The setting with the width of one expert."""
    router: str = "gate"
    correction: bool = False
    """Whether the router keeps a bias by which experts are chosen."""
    bias: bool = False
    """Whether router and experts have biases."""
    input_first: bool = False
    """Whether an expert's matrix is (in, out) instead of (out, in)."""
    shared: str = ""
    """The name of the expert that sees every token."""
    shared_width: Callable[[Settings], int] | None = None
    shared_gate: str = ""
    only_in: Callable[[Settings, int], bool] | None = None
    """Whether a layer has experts, or a dense MLP; None: all have."""


@dataclass(frozen=True)
class Family:
    """All decoders of one `model_type`; what is not said is as in Llama."""

    root: str = "model"
    embedding: str = "embed_tokens"
    positions: str = ""
    """The name of learned positions."""
    unused_positions: int = 0
    layers: str = "layers"
    attention: Attention | LatentAttention = Attention()
    mlp: Mlp = Mlp()
    experts: Experts | None = None
    norms: tuple[str, ...] | Callable[[Settings], tuple[str, ...]] = ("input_layernorm", "post_attention_layernorm")
    """The norms of a layer that are as wide as the model."""
    norm_bias: Fact = False
    final_norm: str = "norm"
    final_norm_when: Fact = True
    head_bias: bool = False
    input_first: bool = False
    """Whether linear weights are (in, out) instead of (out, in)."""
    free_head_dim: bool = True
    """Whether `head_dim` may be another than hidden size by heads."""
    kv_heads: Callable[[Settings], int] | None = None
    """Heads of keys and values, where that is not simply a setting."""

    def norms_of(self, settings: Settings) -> tuple[str, ...]:
        """The norms of a layer in this configuration."""
        return self.norms(settings) if callable(self.norms) else self.norms

    def has_experts(self, settings: Settings, layer: int) -> bool:
        """Whether this layer is a mixture of experts."""
        return self.experts is not None and (self.experts.only_in is None or self.experts.only_in(settings, layer))
