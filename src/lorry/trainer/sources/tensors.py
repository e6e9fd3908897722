"""The names, shapes and sizes of a model's tensors, read from safetensors headers: no weights, no torch."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorry.errors import ModelError

_LARGEST_HEADER = 100_000_000  # bytes; the limit of the safetensors library itself
_INDEX = "model.safetensors.index.json"


@dataclass(frozen=True)
class Tensor:
    """One tensor of a checkpoint; `bytes` is 0 where only its shape is known."""

    shape: tuple[int, ...]
    dtype: str = ""
    bytes: int = 0


def tensors(folder: Path) -> dict[str, Tensor] | None:
    """Every tensor of a model folder; None where neither weights nor an outline of them are at hand.

    Raises ModelError for missing shards, and for a file that is cut short or is no safetensors file.
    """
    files = weight_files(folder)
    if files:
        return {name: tensor for file in files for name, tensor in read_header(file).items()}
    outline = folder / "tensors.json"
    if outline.exists():
        shapes: dict[str, list[int]] = json.loads(outline.read_text(encoding="utf-8"))
        return {name: Tensor(tuple(shape)) for name, shape in shapes.items()}
    return None


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model folder, [] for none. Raises ModelError where the index names a missing one."""
    index = folder / _INDEX
    if not index.exists():
        return sorted(file for file in folder.glob("*.safetensors") if not file.name.startswith("consolidated"))
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, AttributeError) as error:
        raise _broken(index, "is not a readable index of weights") from error
    present = [name for name in names if (folder / name).exists()]
    if present and len(present) < len(names):
        missing = [name for name in names if name not in present]
        raise ModelError(
            f"{folder} lacks {len(missing)} of {len(names)} weight files: {', '.join(missing[:3])}",
            hint="fetch the missing files; the model was not downloaded whole",
            place="model.id",
        )
    return [folder / name for name in present]


def read_header(file: Path) -> dict[str, Tensor]:
    """The tensors of one safetensors file. Raises ModelError for a file that is cut short or is none."""
    size = file.stat().st_size
    with file.open("rb") as content:
        start = content.read(8)
        if start.startswith(b"version "):
            raise ModelError(
                f"{file} is a Git LFS pointer, not the weights",
                hint="run `git lfs pull` in its folder",
                place="model.id",
            )
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else _LARGEST_HEADER + 1
        if length > min(_LARGEST_HEADER, size - 8):
            raise _broken(file, "is not a whole safetensors file")
        try:
            header: dict[str, Any] = json.loads(content.read(length))
            found = {name: _tensor(facts) for name, facts in header.items() if name != "__metadata__"}
            end = max((facts["data_offsets"][1] for name, facts in header.items() if name != "__metadata__"), default=0)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _broken(file, "is not a readable safetensors file") from error
    if 8 + length + end > size:
        raise _broken(file, f"is cut short: {size} of {8 + length + end} bytes")
    return found


def _tensor(facts: dict[str, Any]) -> Tensor:
    start, end = facts["data_offsets"]
    return Tensor(tuple(facts["shape"]), facts["dtype"], end - start)


def _broken(file: Path, what: str) -> ModelError:
    return ModelError(f"{file} {what}", hint="fetch the file again", place="model.id")
