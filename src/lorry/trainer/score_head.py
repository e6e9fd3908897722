"""The scalar head of a reward model: Transformers' `score`, one linear layer on the last hidden state."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, AutoConfig, AutoModelForSequenceClassification
from transformers.utils import logging

from lorry.errors import ModelError

SCORE = "score"
"""What Transformers calls the head of decoders that classify; an adapter keeps it under this name."""
_SAID_OF_LAYERS = ("is_loaded_in_4bit", "is_loaded_in_8bit", "is_quantized", "quantization_method", "hf_quantizer")
"""What Transformers says of a model whose layers are quantised, by which PEFT chooses its own."""


def load_scoring(folder: Path, seed: int, options: dict[str, Any]) -> Any:
    """The folder's model with one score in the place of its output layer; `options` are Transformers' own.

    A head that the folder has not got begins the same for the same seed, whatever Transformers would draw. Raises
    ModelError for an architecture that has no such head in Transformers, and for a classifier of several labels.
    """
    _must_score(AutoConfig.from_pretrained(folder, trust_remote_code=options["trust_remote_code"]))
    with _quiet():  # Transformers' report names the head that is missing, which is as it should be
        model, told = AutoModelForSequenceClassification.from_pretrained(
            folder, num_labels=1, output_loading_info=True, **options
        )
    config = _with_a_head(model)
    lost = [name for name in told["missing_keys"] if not name.startswith(f"{SCORE}.")]
    if lost:
        raise ModelError(f"the model's folder lacks {lost[0]}", place=str(folder), hint="fetch its weights again")
    if told["missing_keys"]:
        # Made anew, not filled: of a model that comes quantised it would be quantised too.
        model.score = _begun(int(config.hidden_size), float(getattr(config, "initializer_range", 0.02)), seed).to(
            model.device, model.dtype
        )
    # Transformers' own forward then reads the last token, as lorry does, and not the last that is no padding.
    config.pad_token_id = None
    return model


def scoring_over(body: torch.nn.Module, other: Any, folder: Path, *, has_own_code: bool) -> Any:
    """The same over layers that are in memory: `body`, whose weights are those of `other`, which was loaded from the folder.

    Its head is yet to be filled. None where Transformers would build other layers below such a head. Raises ModelError as
    `load_scoring` does.
    """
    config = AutoConfig.from_pretrained(folder, trust_remote_code=has_own_code, num_labels=1)
    _must_score(config)
    attention = other.config._attn_implementation
    with torch.device("meta"):
        model: Any = AutoModelForSequenceClassification.from_config(
            config, trust_remote_code=has_own_code, attn_implementation=attention
        )
    config = _with_a_head(model)
    if type(model.base_model) is not type(body):
        return None
    setattr(model, model.base_model_prefix, body)
    for name in _SAID_OF_LAYERS:
        if name in vars(other):
            setattr(model, name, vars(other)[name])
    model.score = torch.nn.Linear(int(config.hidden_size), 1, bias=False, device=next(body.parameters()).device)
    config.pad_token_id = None
    return model


def _with_a_head(model: Any) -> Any:
    """The configuration of a model's text part. Raises ModelError where it has no head that scores."""
    config = model.config.get_text_config()
    if not isinstance(getattr(model, SCORE, None), torch.nn.Module):
        raise _without_head(config.model_type)
    return config


@contextmanager
def _quiet() -> Generator[None]:
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _must_score(config: Any) -> None:
    is_known = type(config) in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING or "auto_map" in config.to_dict()
    if not is_known:
        raise _without_head(config.model_type)
    classifies = any(name.endswith("ForSequenceClassification") for name in config.architectures or [])
    if classifies and config.num_labels != 1:
        hint = "take the model that it was made from"
        raise ModelError(f"the model is a classifier of {config.num_labels} labels", place="model.id", hint=hint)


def _without_head(kind: str) -> ModelError:
    hint = "take a decoder of another family, such as Llama, Qwen, Mistral or Gemma"
    return ModelError(f"Transformers' `{kind}` has no head for rewards", place="model.id", hint=hint)


def score_of(model: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """From hidden states `(..., hidden)` to rewards `(..., 1)`, in the head's own precision whatever the others have."""

    def head(hidden: torch.Tensor) -> torch.Tensor:
        layer = model.score  # looked up each time: an adapter puts its own into this place
        with torch.autocast(hidden.device.type, enabled=False):
            return layer(hidden.to(next(layer.parameters()).dtype))

    return head


def _begun(width: int, spread: float, seed: int) -> torch.nn.Linear:
    draw = torch.Generator().manual_seed(seed)
    layer = torch.nn.Linear(width, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(spread * torch.randn(1, width, generator=draw))
    return layer
