"""Whether an adapter's folder has everything that is needed to use it; read without torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from lorry.errors import ModelError
from lorry.trainer.sources.tensors import read_header, tensors

CONFIG = "adapter_config.json"
WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
_PLAIN_BEGINNINGS = (True, False, None, "gaussian", "orthogonal", "eva")
"""Ways to begin an adapter that leave the base as it is; PiSSA and its like take out of it what they put into the adapter."""
_REFETCH = "copy the adapter's folder again, whole"


def is_whole_model(folder: Path) -> bool:
    """Whether the folder holds a model of its own: what a run leaves that trained all weights."""
    return (folder / "config.json").exists() and not (folder / CONFIG).exists()


def check_files(folder: Path) -> dict[str, Any]:
    """The adapter's configuration; an empty one for a whole model.

    Raises ModelError that names what is missing, or what is cut short or cannot be read.
    """
    if is_whole_model(folder):
        if not tensors(folder):
            raise _incomplete(folder, ["model.safetensors"])
        return {}
    missing = [] if (folder / CONFIG).is_file() else [CONFIG]
    weights = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if weights is None:
        missing.append(WEIGHTS[0])
    if missing or weights is None:
        raise _incomplete(folder, missing)
    if weights.suffix == ".safetensors" and not read_header(weights):
        raise ModelError("the file holds no weights", place=str(weights), hint=_REFETCH)
    return _config(folder / CONFIG)


def gives_rewards(folder: Path) -> bool:
    """Whether the folder's adapter or model has a head that scores, and none that answers; as its configuration says."""
    if not is_whole_model(folder):
        return _config(folder / CONFIG).get("task_type") == "SEQ_CLS"
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return any(str(name).endswith("ForSequenceClassification") for name in config.get("architectures") or [])


def base_model(config: dict[str, Any]) -> str | None:
    """The model that the adapter was made for, as it says itself."""
    name = config.get("base_model_name_or_path")
    return name if isinstance(name, str) and name else None


def changes_base(config: Mapping[str, Any]) -> bool:
    """Whether an adapter of this configuration changes weights or layers of the model that it is put on."""
    return (
        str(config.get("peft_type", "")).rpartition(".")[2] != "LORA"
        or config.get("init_lora_weights") not in _PLAIN_BEGINNINGS
        or config.get("bias", "none") != "none"
        or bool(config.get("layer_replication"))
    )


def _config(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"it cannot be read: {error}", place=str(file), hint=_REFETCH) from error
    if not isinstance(value, dict) or "peft_type" not in value:
        hint = "name a folder that PEFT's `save_pretrained` wrote, or a run"
        raise ModelError("this is not the configuration of a PEFT adapter", place=str(file), hint=hint)
    return cast("dict[str, Any]", value)


def _incomplete(folder: Path, missing: list[str]) -> ModelError:
    return ModelError(f"the adapter is not complete: {' and '.join(missing)} missing", place=str(folder), hint=_REFETCH)
