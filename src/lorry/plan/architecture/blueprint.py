"""Every tensor of a model, from its configuration alone: no weights, no torch, no network.

Names and shapes are those of the model that Transformers 5.23 builds, in which PEFT looks for modules. Checkpoints may
differ from it: older ones of vision-language models name the text part `model.` or `language_model.model.` instead of
`model.language_model.`, GPT-NeoX calls its output layer `embed_out`, mixtures of experts store each expert by itself
(see `family.Experts`), and some store an output layer that is tied to the embeddings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lorry.plan.architecture.decoder import Shapes, decoder, settings_of, widths
from lorry.plan.architecture.families import FAMILIES, TEXT_PARTS
from lorry.plan.architecture.family import Family, Settings
from lorry.plan.architecture.vision import VISION, Tower, VisionFamily, tower_of

if TYPE_CHECKING:
    from lorry.trainer.sources.tensors import Tensor

SUPPORTED = frozenset(FAMILIES) | frozenset(VISION)
"""The values of `model_type` that `blueprint` knows."""


def blueprint(config: Settings) -> dict[str, Tensor] | None:
    """The tensors of the model of a config.json, by name; None for a `model_type` that lorry does not know.

    An output layer that is tied to the embeddings is not listed. What the configuration leaves out is as Transformers
    has it. Tensors have no dtype and no bytes.
    """
    from lorry.trainer.sources.tensors import Tensor

    kind = config.get("model_type", "")
    if kind in FAMILIES:
        found = _text_model(config, kind)
    elif kind in VISION:
        found = _vision_model(config, VISION[kind])
    else:
        found = None
    return None if found is None else {name: Tensor(shape) for name, shape in found}


def text_part(config: Settings) -> tuple[Settings, Family] | None:
    """The settings and the family of the model's decoder; None for one that lorry does not know."""
    kind = config.get("model_type", "")
    vision = VISION.get(kind)
    if vision:
        # Qwen2-VL's published configurations hold the text's settings at the top.
        config = config.get("text_config") or (config if vision.text else {})
        kind = vision.text or config.get("model_type", "llama")
    family = FAMILIES.get(kind) or TEXT_PARTS.get(kind)
    return (settings_of(kind, config), family) if family else None


def text_root(config: Settings, family: Family) -> str:
    """What the names of the decoder's tensors begin with."""
    vision = VISION.get(config.get("model_type", ""))
    return f"model.{vision.text_path}" if vision else family.root


def is_tied(config: Settings) -> bool:
    """Whether the output layer is the token embeddings."""
    vision, part = VISION.get(config.get("model_type", "")), text_part(config)
    by_text = bool(part and part[0].get("tie_word_embeddings"))
    if vision is None:
        return by_text
    return bool(config.get("tie_word_embeddings", vision.tied)) or (vision.tied_by_text and by_text)


def _text_model(config: Settings, kind: str) -> Shapes:
    settings, family = settings_of(kind, config), FAMILIES[kind]
    yield from decoder(settings, family, text_root(config, family))
    yield from _head(settings, family, tied=is_tied(config))
    if family.head_bias:
        yield "lm_head.bias", (settings["vocab_size"],)


def _head(settings: Settings, family: Family, *, tied: bool) -> Shapes:
    size = widths(settings, family)
    if not tied:
        yield "lm_head.weight", (size.vocabulary, size.embedding)


def _vision_model(config: Settings, family: VisionFamily) -> Shapes | None:
    text, seen = text_part(config), tower_of(family, config)
    return _joined(config, family, text, seen) if text and seen else None


def _joined(
    config: Settings, family: VisionFamily, text: tuple[Settings, Family], seen: tuple[Tower, Settings]
) -> Shapes:
    settings, decoder_family = text
    tower, vision = seen
    for name, shape in tower.tensors(vision):
        yield f"model.{family.tower_path}.{name}", shape
    for name, shape in family.joint(config, vision, settings["hidden_size"]):
        yield f"model.{name}", shape
    yield from decoder(settings, decoder_family, text_root(config, decoder_family))
    yield from _head(settings, decoder_family, tied=is_tied(config))
