"""The small copy of a model as a folder: a shrunk config.json, random weights, and the true tokenizer."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig

from lorry.errors import LorryError, ModelError
from lorry.plan.shrink import shrink
from lorry.track.folder import write_exact
from lorry.trainer.architectures import class_for

KEPT = ("*.json", "*.jinja", "*.model", "*.txt", "additional_chat_templates")
"""What of a model's folder belongs to its tokenizer or its templates; config.json and indexes of weights do not."""
_NOT_KEPT = ("config.json", "*.safetensors.index.json", "*.bin.index.json", "adapter_config.json")
_MOST = 400_000_000
"""Parameters of a copy; one that is larger was not shrunk."""


@dataclass(frozen=True)
class Copy:
    """What was made of which model."""

    model_type: str
    layers: int
    hidden: int
    vocabulary: int
    parameters: int
    was_quantised: bool

    def told(self) -> str:
        """The copy in words."""
        return (
            f"a `{self.model_type}` of {self.parameters / 1e6:.1f} million random weights: {self.layers} layers, "
            f"{self.hidden} wide, {self.vocabulary:,} tokens"
        )


def make(source: Path, folder: Path, *, trusted: str | None) -> Copy:
    """Makes the copy of the model whose configuration and tokenizer lie in `source`; the same ones give the same.

    Raises ModelError where the architecture cannot be shrunk or built.
    """
    copy_kept(source, folder)
    for code in source.glob("*.py") if trusted else ():
        shutil.copyfile(code, folder / code.name)
    true = json.loads((source / "config.json").read_text(encoding="utf-8"))
    try:
        config, model = _built(true, folder, trusted=trusted is not None)
        model.save_pretrained(folder)
    except LorryError:
        raise
    except Exception as error:
        told = (
            f"the small copy of this `{true.get('model_type')}` model cannot be built: {type(error).__name__}: {error}"
        )
        raise ModelError(told, place="model.id", hint="try it as it is: `lorry run RECIPE --smoke`") from error
    write_exact(folder / "config.json", json.dumps(config, indent=2))
    copy_kept(source, folder)
    text = config.get("text_config") or config
    return Copy(
        model_type=str(true.get("model_type")),
        layers=int(getattr(model.config.get_text_config(), "num_hidden_layers", 0)),
        hidden=int(model.get_input_embeddings().weight.shape[1]),
        vocabulary=int(text.get("vocab_size", 0)),
        parameters=sum(weight.numel() for weight in model.parameters()),
        was_quantised="quantization_config" in true,
    )


def copy_kept(source: Path, folder: Path) -> None:
    """Copies tokenizer and templates."""
    folder.mkdir(parents=True, exist_ok=True)
    left_out = {path for pattern in _NOT_KEPT for path in source.glob(pattern)}
    for path in {path for pattern in KEPT for path in source.glob(pattern)} - left_out:
        if path.is_dir():
            shutil.copytree(path, folder / path.name, dirs_exist_ok=True)
        else:
            shutil.copyfile(path, folder / path.name)


def cannot_quantise(kind: str) -> str:
    """Why bitsandbytes cannot quantise on this processor, tried on one small layer; empty where it can."""
    try:
        import bitsandbytes

        layer: Any = (
            bitsandbytes.nn.Linear4bit(64, 64, bias=False, quant_type="nf4")
            if kind == "nf4"
            else bitsandbytes.nn.Linear8bitLt(64, 64, bias=False, has_fp16_weights=False)
        ).to("cpu")
        given = torch.randn(2, 64, requires_grad=True)
        layer(given).sum().backward()
    except Exception as error:
        return f"bitsandbytes does not work here: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    return ""


def _built(true: dict[str, Any], folder: Path, *, trusted: bool) -> tuple[dict[str, Any], Any]:
    """The shrunk configuration, and a model of it with random weights."""
    plain = {name: value for name, value in true.items() if name != "quantization_config"}
    write_exact(folder / "config.json", json.dumps(plain, indent=2))
    filled = AutoConfig.from_pretrained(folder, trust_remote_code=trusted).to_dict()
    small = shrink(filled)
    write_exact(folder / "config.json", json.dumps(small, indent=2))
    config = AutoConfig.from_pretrained(folder, trust_remote_code=trusted)
    with torch.device("meta"):
        size = sum(weight.numel() for weight in _of(config, trusted=trusted).parameters())
    if size > _MOST:
        told = f"lorry cannot shrink a `{config.model_type}` model: {size / 1e9:.1f} billion parameters stay"
        raise ModelError(told, place="model.id", hint="try it as it is: `lorry run RECIPE --smoke`")
    torch.manual_seed(0)
    model = _of(config, trusted=trusted, dtype=config.dtype or torch.float32)
    _must_be_numbers(model)
    return small, model


def _of(config: Any, *, trusted: bool, **options: Any) -> Any:
    return class_for(config).from_config(config, trust_remote_code=trusted, **options)


@torch.no_grad()
def _must_be_numbers(model: Any) -> None:
    """Some architectures leave parameters as they find the memory."""
    for weight in model.parameters():
        if not bool(weight.isfinite().all()):
            weight.normal_(std=0.02)
