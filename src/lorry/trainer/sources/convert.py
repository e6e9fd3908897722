"""Child process that converts a model: `python -m lorry.trainer.sources.convert ORIGIN TARGET [--light]`.

The last line on stdout is JSON: `{"sha256": ..., "notes": [...]}`, or `{"error": ..., "hint": ..., "details": ...}`.
"""

from __future__ import annotations

import argparse
import errno
import hashlib
import json
import os
import shutil
import sys
import traceback
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from lorry.errors import LorryError, ModelError

_F32_FILE = 0  # general.file_type of a GGUF file whose tensors are all float32


def main(arguments: Sequence[str] | None = None) -> int:
    """Converts, and says how it went; 0 when it went well, else 2."""
    parser = argparse.ArgumentParser()
    parser.add_argument("origin", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--light", action="store_true", help="leave the weights out")
    given = parser.parse_args(arguments)
    try:
        notes = _convert(given.origin, given.target, light=given.light)
        answer = {"sha256": _sha256(given.origin) if given.origin.is_file() else None, "notes": notes}
    except Exception as error:
        answer = {**_explained(error, given.origin), "details": traceback.format_exc()}
    sys.stdout.write("\n" + json.dumps(answer) + "\n")
    return 2 if "error" in answer else 0


def _explained(error: Exception, origin: Path) -> dict[str, str]:
    if isinstance(error, LorryError):
        return {"error": error.message, "hint": error.hint}
    # safetensors reports a full disk as an error of its own, with the system's words in it.
    if os.strerror(errno.ENOSPC) in str(error):
        return {"error": "the disk is full", "hint": "make room, or set LORRY_HOME to a folder on another disk"}
    if isinstance(error, MemoryError):
        return {"error": f"there is not enough memory to convert {origin.name}", "hint": "use a larger machine"}
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    return {
        "error": f"{origin.name} could not be converted: {first}",
        "hint": "it may be damaged, or of a kind that Transformers cannot read; fetch it again, or use safetensors",
    }


def _convert(origin: Path, target: Path, *, light: bool) -> list[str]:
    return _from_gguf(origin, target, light) if origin.is_file() else _from_folder(origin, target, light)


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _from_gguf(file: Path, target: Path, light: bool) -> list[str]:
    """Dequantises a GGUF file: float32 where all of it is float32, else bfloat16."""
    from lorry.trainer.sources.gguf_tokenizer import fields, restore_split

    _parse_once()
    facts = fields(file)  # before the imports, which take seconds: a damaged file is refused at once
    import torch
    from transformers import AutoConfig, AutoTokenizer, GgufConfig

    place = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    dtype = torch.float32 if facts.get("general.file_type") == _F32_FILE else torch.bfloat16
    config = AutoConfig.from_pretrained(**place)
    tokenizer = AutoTokenizer.from_pretrained(**place, config=config)
    notes = restore_split(tokenizer.backend_tokenizer, facts)
    tokenizer.save_pretrained(target)
    config.dtype = dtype
    if light:
        _outline(config, target)
    else:
        load = {"config": config, "dtype": dtype, "quantization_config": GgufConfig(dequantize=True)}
        _save_weights(place | load, target)
    return notes


def _parse_once() -> None:
    """Lets this process parse the file's header once: Transformers does it anew for each of its four questions."""
    import gguf

    gguf.GGUFReader = cache(gguf.GGUFReader)  # type: ignore[misc, assignment]


def _from_folder(folder: Path, target: Path, light: bool) -> list[str]:
    """Gives a model folder the files it lacks: a tokenizer.json, safetensors. The rest is linked."""
    notes: list[str] = []
    if not (folder / "tokenizer.json").exists():
        from transformers import AutoTokenizer

        AutoTokenizer.from_pretrained(str(folder)).save_pretrained(target)
        notes.append("tokenizer.json was made from the model's older tokenizer files")
    if not light and not any(folder.glob("*.safetensors")):
        # weights_only is Transformers' default: a pickle that wants to run code is refused.
        _save_weights({"pretrained_model_name_or_path": str(folder), "dtype": "auto"}, target)
        notes.append("the pickled weights were converted to safetensors")
    for file in folder.iterdir():
        if file.is_file() and file.suffix != ".bin" and not (target / file.name).exists():
            _link(file, target / file.name)
    return notes


def _save_weights(arguments: dict[str, Any], target: Path) -> None:
    from transformers import AutoConfig

    from lorry.trainer.architectures import class_for

    config = arguments.get("config") or AutoConfig.from_pretrained(arguments["pretrained_model_name_or_path"])
    loaded: Any = class_for(config).from_pretrained(**arguments, output_loading_info=True)
    model, info = loaded
    missing = sorted(set(info["missing_keys"]) - set(getattr(model, "all_tied_weights_keys", None) or {}))
    if missing:
        shown = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise ModelError(f"the file lacks {len(missing)} of the model's tensors: {shown}", hint="fetch the file again")
    model.save_pretrained(target)


def _outline(config: Any, target: Path) -> None:
    """Writes the configuration, and the names and shapes of the tensors that the weights would have."""
    import torch

    from lorry.trainer.architectures import class_for

    with torch.device("meta"):
        model = class_for(config).from_config(config)
    shapes = {name: list(parameter.shape) for name, parameter in model.named_parameters()}
    config.architectures = [type(model).__name__]
    config.save_pretrained(target)
    (target / "tensors.json").write_text(json.dumps(shapes), encoding="utf-8")


def _link(file: Path, place: Path) -> None:
    """Weights are many gigabytes: a link where the system allows it, else a copy."""
    try:
        place.symlink_to(file.resolve())
    except OSError:
        shutil.copyfile(file, place)


if __name__ == "__main__":
    sys.exit(main())
