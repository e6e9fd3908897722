"""What a model's folder must have before anything is loaded from it."""

from __future__ import annotations

import json
import re
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

from lorry.data.images.families import FAMILIES
from lorry.errors import ModelError
from lorry.recipe.schema import ModelSettings
from lorry.trainer.sources.tensors import tensors

_OLD_TOKENIZERS = (("tokenizer.model",), ("vocab.json", "merges.txt"))


def needs_conversion(folder: Path, *, weights: bool) -> bool:
    """Whether a model folder lacks files that can be made from older ones that it has."""
    if not (folder / "config.json").exists():
        return False
    old = any(all((folder / name).exists() for name in names) for names in _OLD_TOKENIZERS)
    pickled = not any(folder.glob("*.safetensors")) and any(folder.glob("pytorch_model*.bin"))
    return (old and not (folder / "tokenizer.json").exists()) or (weights and pickled)


def check_folder(folder: Path, settings: ModelSettings, *, weights: bool) -> list[str]:
    """What the person should know about a model folder; raises ModelError where it cannot be used."""
    config = read_config(folder, settings.id)
    notes = _check_code(config, settings)
    if not (folder / "tokenizer.json").exists():
        raise _error(
            f"{settings.id} has no tokenizer",
            f"{folder} needs tokenizer.json, tokenizer.model, or vocab.json and merges.txt",
        )
    if weights and not tensors(folder):
        raise _error(f"{settings.id} has no weights", f"{folder} needs model.safetensors")
    return notes


def read_config(folder: Path, name: str) -> dict[str, Any]:
    """The model's config.json. Raises ModelError where it is missing or broken, or the folder holds an adapter."""
    path = folder / "config.json"
    if not path.exists():
        _refuse_adapter(folder, name)
        raise _error(
            f"{name} is not a model: {folder} has no config.json", "name a folder with config.json and weights"
        )
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise _error(f"{path} is not readable JSON ({error})", "fetch the file again") from error
    if not isinstance(config, dict) or "model_type" not in config:
        raise _error(f"{path} names no model_type", "this is not the configuration of a Transformers model")
    return cast("dict[str, Any]", config)


def _refuse_adapter(folder: Path, name: str) -> None:
    path = folder / "adapter_config.json"
    if not path.exists():
        return
    try:
        base = json.loads(path.read_text(encoding="utf-8")).get("base_model_name_or_path") or "its base model"
    except (ValueError, AttributeError):
        base = "its base model"
    hint = f"set model.id to {base} and model.adapter to {folder}"
    raise _error(f"{name} is an adapter, not a model", hint)


def _check_code(config: dict[str, Any], settings: ModelSettings) -> list[str]:
    """Refuses architectures that nothing here can run, and code that was not trusted by name."""
    known, kind = known_model_types(), config["model_type"]
    known = known | FAMILIES.keys() if known else known
    if settings.trust_remote_code:
        return []
    if "auto_map" in config:
        if known and kind in known:
            return [f"{settings.id} brings its own code, which is not run: Transformers' own `{kind}` is used"]
        raise _error(
            f"{settings.id} runs Python that comes with it",
            f"read that code; if you trust it, write `trust_remote_code: {settings.id}` under `model`",
        )
    if known and kind not in known:
        raise _error(
            f"{settings.id} is a `{kind}` model, which Transformers {version('transformers')} does not know as a "
            "text-generating model",
            "take a model that generates text, or upgrade: pip install -U transformers",
        )
    return []


@cache
def known_model_types(task: str = "CAUSAL_LM") -> frozenset[str] | None:
    """The `model_type`s that the installed Transformers can generate text with; None where it is not installed.

    `SEQUENCE_CLASSIFICATION` gives those that it can put a score on.

    Read from its source, since importing it takes seconds.
    """
    spec = find_spec("transformers")
    if spec is None or spec.origin is None:
        return None
    table = Path(spec.origin).parent / "models" / "auto" / "modeling_auto.py"
    text = table.read_text(encoding="utf-8") if table.exists() else ""
    block = re.search(rf"^MODEL_FOR_{task}_MAPPING_NAMES\b.*?^\)", text, re.MULTILINE | re.DOTALL)
    return frozenset(re.findall(r'\(\s*"([^"]+)",', block[0])) if block else None


def _error(message: str, hint: str) -> ModelError:
    return ModelError(message, hint=hint, place="model.id")
