"""A model's configuration made small: the same architecture, with few and narrow layers, that a laptop computes at once.

What decides how a model is put together stays: its `model_type`, the vocabulary, one layer of each kind (sliding and full
attention, dense and sparse, with and without rotary positions), the ratio of query heads to key heads, tied embeddings,
biases, norms, the kind of rotary scaling. So its modules have the names of the true model's, and its tokenizer fits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from lorry.errors import ModelError

Config = dict[str, Any]

_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "depth")
_HIDDEN = ("hidden_size", "n_embd", "d_model", "embed_dim")
_HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads")
_KV_HEADS = ("num_key_value_heads", "num_kv_heads", "n_head_kv")
_WIDE = ("intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size", "mlp_hidden_size")
_NARROW = ("moe_intermediate_size", "shared_expert_intermediate_size", "moe_shared_expert_intermediate_size")
_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
_ACTIVE = ("num_experts_per_tok", "num_experts_per_token", "experts_per_token", "moe_topk", "top_k_experts")
_SIZES: Mapping[str, int] = {
    "q_lora_rank": 24,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 8,
    "qk_head_dim": 24,
    "v_head_dim": 16,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
    "hidden_size_per_layer_input": 16,
}
"""Sizes that stand for themselves, where a configuration has them: DeepSeek's latent attention, linear attention."""
_INDICES = ("mlp_only_layers", "moe_layers", "full_attn_idxs", "attn_layer_indices", "cross_attention_layers")
"""Settings that list the numbers of some layers."""
_DROPPED = ("quantization_config", "_name_or_path", "transformers_version")

_MOST_HEADS = 16
_MOST_LAYERS = 6
_MOST_KINDS = 8
"""Different values from which a list with an entry for each layer does not tell kinds of layers."""
_MOST_EXPERTS = 4


def shrink(config: Mapping[str, Any]) -> Config:
    """A config.json of a small model of the same architecture.

    Kinds of layers that only a default implies are known where defaults are filled in, as `to_dict` of a Transformers
    configuration does. Settings of unknown architectures are shrunk by their usual names. Raises ModelError where the
    configuration does not tell how many and how wide its layers are.
    """
    made = {name: value for name, value in config.items() if name not in _DROPPED}
    text = made.get("text_config")
    if isinstance(text, Mapping):
        made["text_config"] = _decoder(cast("Mapping[str, Any]", text), str(config.get("model_type")))
    elif _names(made, _LAYERS) or not made.get("vision_config"):
        made = _decoder(made, str(config.get("model_type")))
    if isinstance(made.get("vision_config"), Mapping):
        part = made["text_config"] if isinstance(text, Mapping) else made
        made["vision_config"] = _tower(made["vision_config"], _first(part, _HIDDEN, 64))
    return made


def _decoder(config: Mapping[str, Any], model_type: str) -> Config:
    """A decoder's own settings, shrunk."""
    missing = [names[0] for names in (_LAYERS, _HIDDEN, _HEADS) if not isinstance(_first(config, names), int)]
    if missing:
        told = f"lorry cannot shrink a `{model_type}` model: its config.json tells no {' and no '.join(missing)}"
        raise ModelError(told, place="model.id", hint="try it as it is: `lorry run RECIPE --smoke`")
    heads, kv_heads = _heads(config)
    width = _head_width(config, heads)
    hidden = _hidden(config, heads * width)
    changes: Config = {
        **_given(config, _HIDDEN, hidden),
        **_given(config, _HEADS, heads),
        **_given(config, _KV_HEADS, kv_heads),
        **_given(config, ("head_dim",), width),
        **_given(config, _WIDE, 2 * hidden),
        **_given(config, _NARROW, 32),
        **{name: _SIZES[name] for name in _SIZES if isinstance(config.get(name), int)},
        **_experts(config),
    }
    if "qk_rope_head_dim" in changes:
        changes |= _given(config, _KV_HEADS, heads) | _given(config, ("head_dim",), _SIZES["qk_rope_head_dim"])
    if isinstance(config.get("word_embed_proj_dim"), int):
        is_same = config["word_embed_proj_dim"] == _first(config, _HIDDEN)
        changes["word_embed_proj_dim"] = hidden if is_same else hidden // 2
    return _with_few_layers(_rotary({**config, **changes}, width))


def _heads(config: Mapping[str, Any]) -> tuple[int, int]:
    """Heads of queries and of keys, in the true ratio; two groups of them where that is not too wide."""
    true = _first(config, _HEADS)
    true_kv = _first(config, _KV_HEADS) or true
    ratio = true // true_kv if true_kv <= true and true % true_kv == 0 else 1
    groups = 4 if ratio == 1 else 2
    groups = min(groups, true_kv) if ratio * min(groups, true_kv) <= _MOST_HEADS else 1
    return min(ratio, _MOST_HEADS) * groups, groups


def _head_width(config: Mapping[str, Any], heads: int) -> int:
    """16, or 8 for many heads that turn whole: a part of 8 may be odd, and sections may not divide."""
    is_whole = not any(name in str(config) for name in ("partial_rotary_factor", "rotary_pct", "mrope_section"))
    return 8 if heads > 8 and is_whole else 16


def _hidden(config: Mapping[str, Any], queries: int) -> int:
    """As wide beside all query heads together as in the true model, where the two may differ."""
    true = config.get("head_dim")
    if not isinstance(true, int) or "qk_rope_head_dim" in config:
        return queries
    share = _first(config, _HIDDEN) / (_first(config, _HEADS) * true)
    return max(16, round(queries * share / 16) * 16) if share != 1 else queries


def _experts(config: Mapping[str, Any]) -> Config:
    """Few experts; groups of them, from which DeepSeek chooses first, hold two each."""
    count = next((config[name] for name in _EXPERTS if isinstance(config.get(name), int)), 0)
    if not count:
        return {}
    few = min(count, _MOST_EXPERTS)
    active = next((config[name] for name in _ACTIVE if isinstance(config.get(name), int)), 1)
    made = _given(config, _EXPERTS, few) | _given(config, _ACTIVE, min(active, few, 2))
    if isinstance(config.get("n_group"), int) and config["n_group"] > 1:
        made |= {"n_group": 2, "topk_group": 1}
    return made


def _rotary(config: Config, width: int) -> Config:
    """Lists in the settings of rotary positions have an entry for each pair of a head's dimensions, or for some."""
    pairs = int(width * _partial(config)) // 2
    scaling = {name: _turned(config[name], pairs) for name in ("rope_parameters", "rope_scaling") if config.get(name)}
    return {**config, **scaling}


def _turned(rope: Any, pairs: int) -> Any:
    if not isinstance(rope, Mapping):
        return rope
    made: Config = {}
    for name, value in cast("Mapping[str, Any]", rope).items():
        if name in ("short_factor", "long_factor") and isinstance(value, list):
            made[name] = [value[at * len(value) // pairs] for at in range(pairs)]
        elif name == "mrope_section" and isinstance(value, list):
            made[name] = _sections(cast("list[int]", value), pairs)
        else:
            made[name] = _turned(value, pairs)
    return made


def _sections(true: list[int], pairs: int) -> list[int]:
    """Sections in about the true proportions that make up all pairs; none is empty."""
    rest = [max(1, part * pairs // sum(true)) for part in true[1:]]
    return [pairs - sum(rest), *rest]


def _partial(config: Mapping[str, Any]) -> float:
    """The share of a head's dimensions that turn with the position."""
    places: list[Any] = [config, config.get("rope_parameters"), config.get("rope_scaling")]
    for place in places:
        for name in ("partial_rotary_factor", "rotary_pct"):
            if isinstance(place, Mapping) and isinstance(place.get(name), int | float):
                return float(place[name])
    return 1.0


def _with_few_layers(config: Config) -> Config:
    """The first layer of each kind, and at least two layers."""
    count = _first(config, _LAYERS)
    kinds = [_kind(config, layer, count) for layer in range(count)]
    first = [kinds.index(kind) for kind in dict.fromkeys(kinds)][:_MOST_LAYERS]
    others = [layer for layer in range(count) if layer not in first]
    kept = sorted([*first, *others[: max(0, 2 - len(first))]])
    made = {**config, **_given(config, _LAYERS, len(kept))}
    for name in _by_layer(config, count):
        made[name] = [config[name][layer] for layer in kept]
    for name in _INDICES:
        if isinstance(config.get(name), list):
            made[name] = [place for place, layer in enumerate(kept) if layer in config[name]]
    if isinstance(config.get("max_window_layers"), int):
        made["max_window_layers"] = sum(layer < config["max_window_layers"] for layer in kept)
    if config.get("num_kv_shared_layers"):
        made["num_kv_shared_layers"] = 0
    return {**made, **_apart(config, kept), **_sparse(config, kept)}


def _apart(config: Mapping[str, Any], kept: Sequence[int]) -> Config:
    """Settings of single layers by their number (Gemma 4): sizes there are the shrunk ones, wider heads twice them."""
    given = config.get("per_layer_config")
    if not isinstance(given, Mapping):
        return {}
    by_layer = {int(layer): values for layer, values in cast("Mapping[Any, dict[str, Any]]", given).items()}
    small = {"head_dim": 2 * config.get("head_dim", 0)}
    return {
        "per_layer_config": {
            place: {name: small.get(name, config.get(name, value)) for name, value in by_layer[layer].items()}
            for place, layer in enumerate(kept)
            if layer in by_layer
        }
    }


def _sparse(config: Mapping[str, Any], kept: Sequence[int]) -> Config:
    """The rules by which layers are dense or sparse, for the layers that are kept."""
    made: Config = {}
    if isinstance(config.get("first_k_dense_replace"), int):
        made["first_k_dense_replace"] = sum(layer < config["first_k_dense_replace"] for layer in kept)
    if _sparse_step(config) > 1:
        dense = [place for place, layer in enumerate(kept) if _is_dense(config, layer)]
        made |= {"decoder_sparse_step": 1, "mlp_only_layers": dense}
    pattern = config.get("sliding_window_pattern")
    if isinstance(pattern, int) and not config.get("layer_types"):
        names = ("sliding_attention", "full_attention")
        made["layer_types"] = [names[(layer + 1) % pattern == 0] for layer in kept]
    return made


def _kind(config: Mapping[str, Any], layer: int, count: int) -> tuple[Any, ...]:
    """What tells a layer from others: two with the same are made alike."""
    listed = [config[name][layer] for name in _by_layer(config, count) if _tells_kinds(config[name])]
    named = [layer in config[name] for name in _INDICES if isinstance(config.get(name), list)]
    pattern = config.get("sliding_window_pattern")
    is_full = isinstance(pattern, int) and not config.get("layer_types") and (layer + 1) % pattern == 0
    return (*listed, *named, is_full, _is_dense(config, layer))


def _is_dense(config: Mapping[str, Any], layer: int) -> bool:
    listed = config.get("mlp_only_layers")
    if isinstance(listed, list) and layer in listed:
        return True
    first = config.get("first_k_dense_replace")
    return layer < (first if isinstance(first, int) else 0) or (layer + 1) % _sparse_step(config) != 0


def _sparse_step(config: Mapping[str, Any]) -> int:
    step = config.get("decoder_sparse_step")
    return step if isinstance(step, int) and step > 0 else 1


def _by_layer(config: Mapping[str, Any], count: int) -> list[str]:
    """Settings that hold a value for each layer."""
    return [
        name
        for name, value in config.items()
        if isinstance(value, list)
        and len(cast("list[Any]", value)) == count
        and name not in _INDICES
        and "token" not in name
        and name != "architectures"
    ]


def _tells_kinds(values: Sequence[Any]) -> bool:
    return all(isinstance(value, str | int | bool | None) for value in values) and len(set(values)) <= _MOST_KINDS


def _tower(config: Mapping[str, Any], text_hidden: int) -> Config:
    """What reads images: two narrow layers. Where it has `embed_dim`, its `hidden_size` is the text's."""
    made = {**config, **_given(config, _HEADS, 2), **_given(config, _WIDE, 64)}
    made |= _given(config, _HIDDEN, 32) | _given(config, ("out_hidden_size",), text_hidden)
    if "embed_dim" in config:
        made |= _given(config, ("hidden_size",), text_hidden)
    layers = min(_first(config, _LAYERS) or 2, 2)
    made |= _given(config, _LAYERS, layers)
    for name in ("deepstack_visual_indexes", "fullatt_block_indexes"):
        if isinstance(config.get(name), list):
            made[name] = list(range(min(layers, len(config[name]))))
    return made


def _given(config: Mapping[str, Any], names: Iterable[str], value: int) -> Config:
    """The new value under each of the names that the configuration gives; a list of sizes stays one."""
    return {
        name: [value] * len(cast("list[Any]", config[name])) if isinstance(config[name], list) else value
        for name in names
        if isinstance(config.get(name), int | list) and not isinstance(config[name], bool)
    }


def _names(config: Mapping[str, Any], names: Iterable[str]) -> list[str]:
    return [name for name in names if name in config]


def _first(config: Mapping[str, Any], names: Iterable[str], default: Any = None) -> Any:
    """The value of the first of these settings that is given."""
    return next((config[name] for name in names if config.get(name) is not None), default)
