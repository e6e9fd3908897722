"""The names and shapes of a decoder's tensors, from its family's facts and its configuration."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lorry.plan.architecture.family import Attention, Experts, Family, LatentAttention, Mlp, QkNorm, Settings, holds
from lorry.plan.architecture.family_defaults import DEFAULTS

Shapes = Iterator[tuple[str, tuple[int, ...]]]
"""Tensors' names and shapes."""

_SYNONYMS = {
    "n_embd": "hidden_size",
    "n_layer": "num_hidden_layers",
    "n_head": "num_attention_heads",
    "n_positions": "max_position_embeddings",
    "n_inner": "intermediate_size",
    "ffn_dim": "intermediate_size",
    "ffn_hidden_size": "intermediate_size",
    "num_kv_heads": "num_key_value_heads",
    "num_local_experts": "num_experts",
    "n_routed_experts": "num_experts",
}


def settings_of(model_type: str, config: Settings) -> Settings:
    """The configuration under the names that the families use, with what it leaves out as Transformers 5.23 has it."""
    given = {_SYNONYMS.get(name, name): value for name, value in config.items()}
    return {**DEFAULTS[model_type], **given}


@dataclass(frozen=True)
class Widths:
    """The sizes that shapes are made of."""

    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    layers: int
    vocabulary: int
    embedding: int
    """Width of the token embeddings: the hidden size but in OPT-350m."""

    @property
    def queries(self) -> int:
        """Width of the queries of all heads."""
        return self.heads * self.head_dim

    @property
    def keys(self) -> int:
        """Width of the keys of all heads, and of the values."""
        return self.kv_heads * self.head_dim


def widths(settings: Settings, family: Family) -> Widths:
    """The sizes that a configuration leads to."""
    hidden, heads = settings["hidden_size"], settings["num_attention_heads"]
    kv_heads = family.kv_heads(settings) if family.kv_heads else settings.get("num_key_value_heads") or heads
    head_dim = settings.get("head_dim") if family.free_head_dim else None
    if isinstance(family.attention, LatentAttention):
        kv_heads, head_dim = heads, settings["qk_nope_head_dim"] + settings["qk_rope_head_dim"]
    return Widths(
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim or hidden // heads,
        intermediate=settings.get("intermediate_size") or 4 * hidden,
        layers=settings["num_hidden_layers"],
        vocabulary=settings["vocab_size"],
        embedding=settings.get("word_embed_proj_dim") or hidden,
    )


def decoder(settings: Settings, family: Family, root: str) -> Shapes:
    """Every tensor of the decoder itself: all of the model but the output layer."""
    size = widths(settings, family)
    yield f"{root}.{family.embedding}.weight", (size.vocabulary, size.embedding)
    if size.embedding != size.hidden:
        yield f"{root}.project_in.weight", (size.hidden, size.embedding)
        yield f"{root}.project_out.weight", (size.embedding, size.hidden)
    if family.positions:
        count = settings["max_position_embeddings"] + family.unused_positions
        yield f"{root}.{family.positions}.weight", (count, size.hidden)
    for layer in range(size.layers):
        for name, shape in _layer(settings, family, size, layer):
            yield f"{root}.{family.layers}.{layer}.{name}", shape
    if holds(family.final_norm_when, settings):
        yield from norm(f"{root}.{family.final_norm}", size.hidden, bias=holds(family.norm_bias, settings))


def linear(name: str, out: int, into: int, *, bias: bool, input_first: bool = False) -> Shapes:
    """A linear layer."""
    yield f"{name}.weight", (into, out) if input_first else (out, into)
    if bias:
        yield f"{name}.bias", (out,)


def norm(name: str, width: int, *, bias: bool) -> Shapes:
    """A norm; those with a bias are LayerNorms, the others mostly RMSNorms."""
    yield f"{name}.weight", (width,)
    if bias:
        yield f"{name}.bias", (width,)


def _layer(settings: Settings, family: Family, size: Widths, layer: int) -> Shapes:
    for name in family.norms_of(settings):
        yield from norm(name, size.hidden, bias=holds(family.norm_bias, settings))
    if isinstance(family.attention, LatentAttention):
        yield from _latent(settings, family.attention, size)
    else:
        yield from _attention(settings, family.attention, size, input_first=family.input_first)
    if family.experts and family.has_experts(settings, layer):
        yield from _experts(settings, family.experts, size.hidden)
    else:
        bias = holds(family.mlp.bias, settings)
        yield from _mlp(family.mlp, size.hidden, size.intermediate, bias=bias, input_first=family.input_first)


def _attention(settings: Settings, attention: Attention, size: Widths, *, input_first: bool) -> Shapes:
    path, bias = attention.path, holds(attention.bias, settings)
    outs = (size.queries, size.keys, size.keys)
    if len(attention.inputs) == 1:
        outs = (sum(outs),)
    for name, out in zip(attention.inputs, outs, strict=True):
        yield from linear(f"{path}.{name}", out, size.hidden, bias=bias, input_first=input_first)
    output_bias = holds(attention.output_bias, settings)
    yield from linear(
        f"{path}.{attention.output}", size.hidden, size.queries, bias=output_bias, input_first=input_first
    )
    if attention.norm and holds(attention.norm.when, settings):
        yield from _qk_norm(path, attention.norm, size)
    if attention.sinks:
        yield f"{path}.sinks", (size.heads,)


def _qk_norm(path: str, kind: QkNorm, size: Widths) -> Shapes:
    for name, heads in zip(kind.names, (size.heads, size.kv_heads), strict=True):
        full = f"{path}.{name}"
        if kind.over == "list":
            for head in range(heads):
                yield f"{full}.norms.{head}.weight", (size.head_dim,)
        elif kind.over == "heads":
            yield f"{full}.weight", (heads, size.head_dim)
        else:
            width = heads * size.head_dim if kind.over == "width" else size.head_dim
            yield from norm(full, width, bias=kind.bias)


def _latent(settings: Settings, attention: LatentAttention, size: Widths) -> Shapes:
    path, bias = attention.path, holds(attention.bias, settings)
    rank: int = settings["kv_lora_rank"]
    values: int = settings["v_head_dim"]
    narrow: int | None = settings["q_lora_rank"]
    if narrow is None:
        yield from linear(f"{path}.q_proj", size.queries, size.hidden, bias=False)
    else:
        yield from linear(f"{path}.q_a_proj", narrow, size.hidden, bias=bias)
        yield from norm(f"{path}.q_a_layernorm", narrow, bias=False)
        yield from linear(f"{path}.q_b_proj", size.queries, narrow, bias=False)
    yield from linear(f"{path}.kv_a_proj_with_mqa", rank + settings["qk_rope_head_dim"], size.hidden, bias=bias)
    yield from norm(f"{path}.kv_a_layernorm", rank, bias=False)
    yield from linear(f"{path}.kv_b_proj", size.heads * (settings["qk_nope_head_dim"] + values), rank, bias=False)
    yield from linear(f"{path}.o_proj", size.hidden, size.heads * values, bias=bias)


def _mlp(mlp: Mlp, hidden: int, width: int, *, bias: bool, input_first: bool = False) -> Shapes:
    path = f"{mlp.path}." if mlp.path else ""
    for name in mlp.inputs:
        out = 2 * width if mlp.fused else width
        yield from linear(f"{path}{name}", out, hidden, bias=bias, input_first=input_first)
    yield from linear(f"{path}{mlp.output}", hidden, width, bias=bias, input_first=input_first)


def _experts(settings: Settings, experts: Experts, hidden: int) -> Shapes:
    path, count, width = experts.path, settings["num_experts"], settings[experts.width]
    yield from linear(f"{path}.{experts.router}", count, hidden, bias=experts.bias)
    if experts.correction:
        yield f"{path}.{experts.router}.e_score_correction_bias", (count,)
    for name, out, into in (("gate_up_proj", 2 * width, hidden), ("down_proj", hidden, width)):
        yield f"{path}.experts.{name}", (count, into, out) if experts.input_first else (count, out, into)
        if experts.bias:
            yield f"{path}.experts.{name}_bias", (count, out)
    if experts.shared_width:
        yield from _mlp(Mlp(path=f"{path}.{experts.shared}"), hidden, experts.shared_width(settings), bias=False)
    if experts.shared_gate:
        yield from linear(f"{path}.{experts.shared_gate}", 1, hidden, bias=False)
