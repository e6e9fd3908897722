"""Checkpoints: folders that are written aside, hashed, flushed and renamed, so that one that exists is whole.

checkpoints/step-000050/
  adapter_model.safetensors, adapter_config.json   what PEFT loads (full fine-tuning: model.safetensors, config.json)
  tokenizer.json, ...                              the model's tokenizer and chat template
  optimizer.safetensors                            the optimizer's tensors
  state.json                                       step, losses so far
  manifest.json                                    SHA-256 of each file above
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from lorry.errors import RunFailedError
from lorry.trainer.model import LoadedModel

_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "generation_config.json",
)


@dataclass(frozen=True)
class State:
    """Where training stands: what a checkpoint says of itself."""

    step: int
    tokens: int = 0
    """Tokens of all rows trained on so far."""
    loss: float | None = None
    """Of the evaluation at this step, if there was one."""


@dataclass(frozen=True)
class TokenizerFiles:
    """What is laid beside the weights, so that whoever loads them renders rows as they were trained."""

    folder: Path
    """Where the model's tokenizer files are copied from."""
    template: str | None = None
    """The chat template that rows were rendered with; None where there is none."""

    def copy_to(self, folder: Path) -> None:
        """Copies the files, with the template that was really used."""
        for name in _TOKENIZER_FILES:
            if (self.folder / name).is_file():
                shutil.copyfile(self.folder / name, folder / name)
        if self.template is not None:
            (folder / "chat_template.jinja").write_text(self.template, encoding="utf-8")


def save(
    root: Path, loaded: LoadedModel, optimizer: torch.optim.Optimizer, state: State, tokenizer: TokenizerFiles
) -> Path:
    """Writes the checkpoint of a step under `root` and returns its folder. One that is there already is kept."""
    final = root / f"step-{state.step:06d}"
    if final.exists():
        return final
    with _aside(final) as aside:
        aside.mkdir(parents=True)
        write_weights(aside, loaded, tokenizer)
        save_file(_tensors(optimizer), aside / "optimizer.safetensors")
        (aside / "state.json").write_text(json.dumps(asdict(state)) + "\n", encoding="utf-8")
        write_manifest(aside)
        aside.rename(final)
        _sync(root)
    return final


def write_weights(folder: Path, loaded: LoadedModel, tokenizer: TokenizerFiles) -> None:
    """What was trained, in the form that PEFT and Transformers load, with the tokenizer beside it."""
    loaded.model.save_pretrained(folder, safe_serialization=True)
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's empty card; lorry writes its own with the report
    tokenizer.copy_to(folder)


def deliver(checkpoint: Path, adapter: Path) -> None:
    """Makes `adapter` the weights of a checkpoint: copied aside and renamed, optimizer and state left out."""
    left_out = shutil.ignore_patterns("optimizer.safetensors", "state.json", "manifest.json")
    with _aside(adapter) as aside:
        shutil.copytree(checkpoint, aside, ignore=left_out)
        shutil.rmtree(adapter, ignore_errors=True)
        aside.rename(adapter)
        _sync(adapter.parent)


def prune(root: Path, keep: int, best: int | None) -> None:
    """Deletes all but the last `keep` checkpoints and the best."""
    for step in doomed(sorted(steps(root)), keep, best):
        shutil.rmtree(root / f"step-{step:06d}")


def doomed(saved: Sequence[int], keep: int, best: int | None) -> list[int]:
    """Steps whose checkpoints are not kept: all but the last `keep` and the best; the only one is never among them."""
    return [step for step in saved[:-keep] if step != best]


def steps(root: Path) -> list[int]:
    """Steps of the checkpoints in a folder; what else lies there, a person's copy of one say, is passed over."""
    found = [path.name.removeprefix("step-") for path in root.glob("step-*/")]
    return [int(number) for number in found if number.isdecimal()]


def write_manifest(folder: Path) -> None:
    """Hashes each file into `manifest.json` and flushes all to disk."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    manifest = {path.name: _sha256(path) for path in files}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    for path in [*files, folder / "manifest.json", folder]:
        _sync(path)


def verify(folder: Path) -> None:
    """Raises RunFailedError naming the first file that is missing or not what the manifest says."""
    try:
        manifest: dict[str, str] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunFailedError("the checkpoint's manifest cannot be read", place=str(folder)) from error
    for name, expected in manifest.items():
        path = folder / name
        if not path.is_file() or _sha256(path) != expected:
            raise RunFailedError(f"{name} is damaged or missing", place=str(folder), hint="use an earlier checkpoint")


@contextmanager
def _aside(final: Path) -> Generator[Path]:
    """A free path beside `final` to write its folder at; where that fails, nothing of it stays.

    Raises RunFailedError for what the disk refuses: most often it is full.
    """
    aside = final.with_name(f".{final.name}.{os.getpid()}")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        yield aside
    except (OSError, SafetensorError) as error:
        shutil.rmtree(aside, ignore_errors=True)
        hint = "free some space, or set LORRY_HOME to another disk; checkpoints that were written before are whole"
        raise RunFailedError(f"the weights cannot be written: {error}", place=str(final), hint=hint) from error


def _tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    state: dict[int, dict[str, Any]] = optimizer.state_dict()["state"]
    return {
        f"{index}.{name}": value.contiguous()
        for index, values in state.items()
        for name, value in values.items()
        if isinstance(value, torch.Tensor)
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
