"""Checkpoints: folders that are written aside, hashed, flushed and renamed, so that none is ever seen half-written.

What a disk does to one later, `verify` finds.

checkpoints/step-000050/
  adapter_model.safetensors, adapter_config.json   what PEFT loads (full fine-tuning: model.safetensors, config.json)
  tokenizer.json, ...                              the model's tokenizer and chat template
  optimizer.safetensors                            the optimizer's tensors
  rng.safetensors                                  states of all random number generators
  value_head.safetensors, rollout.safetensors      of methods that learn from their own answers: the head that is not delivered,
                                                   and the answers that the next step goes on with
  state.json                                       step, scores, memory rung, scaler, what it was made with
  manifest.json                                    SHA-256 of each file above, and of itself
checkpoints/best, checkpoints/final                links to the checkpoints that are that

Safetensors and JSON only: nothing here can run code when it is read. Torch is imported by what writes, so that a computer which
only fetches and verifies needs none.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Collection, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from safetensors import SafetensorError

from lorry.errors import RunFailedError

if TYPE_CHECKING:
    import torch

OPTIMIZER, RNG, STATE, MANIFEST = "optimizer.safetensors", "rng.safetensors", "state.json", "manifest.json"
VALUE_HEAD, ROLLOUT = "value_head.safetensors", "rollout.safetensors"
_NAME = re.compile(r"step-(\d{6,})")


class DamagedError(RunFailedError):
    """A checkpoint that is not what its manifest says."""


@dataclass(frozen=True)
class Contents:
    """Everything that one checkpoint holds. The tensors must not change until it is written."""

    step: int
    write_weights: Callable[[Path], None]
    """Writes the weights and what lies beside them (configuration, tokenizer) into a folder."""
    optimizer: dict[str, torch.Tensor]
    rng: dict[str, torch.Tensor]
    state: dict[str, Any]
    more: dict[str, dict[str, torch.Tensor]] = field(default_factory=dict[str, "dict[str, torch.Tensor]"])
    """Further tensors, by their file's name."""


def path_of(root: Path, step: int) -> Path:
    """Where the checkpoint of a step lies."""
    return root / f"step-{step:06d}"


def step_of(folder: Path) -> int:
    """The step of a checkpoint's folder."""
    return int(folder.name.removeprefix("step-"))


def steps(root: Path) -> list[int]:
    """Steps of the checkpoints in a folder, sorted; what else lies there, a person's copy of one say, is passed over."""
    found = [_NAME.fullmatch(path.name) for path in root.glob("step-*/")]
    return sorted(int(match[1]) for match in found if match)


def write(root: Path, contents: Contents) -> Path:
    """Writes a checkpoint under `root` and returns its folder, on disk when this returns. One that is there stays.

    Raises RunFailedError for what the disk refuses; nothing half-written stays then.
    """
    from safetensors.torch import save_file

    final = path_of(root, contents.step)
    if final.exists():
        return final
    with _aside(final) as aside:
        aside.mkdir(parents=True)
        contents.write_weights(aside)
        save_file(contents.optimizer, aside / OPTIMIZER)
        save_file(contents.rng, aside / RNG)
        for name, tensors in contents.more.items():
            save_file(tensors, aside / name)
        (aside / STATE).write_text(json.dumps(contents.state) + "\n", encoding="utf-8")
        write_manifest(aside)
        aside.rename(final)
        _sync(root)
    return final


def adopt(source: Path, final: Path) -> None:
    """Copies a checkpoint from elsewhere: aside, verified and flushed there, and renamed; one of its step is put aside.

    Raises as `write` and `verify` do; everything is as it was then.
    """
    with _aside(final) as aside:
        shutil.copytree(source, aside)
        verify(aside)
        for path in [*aside.iterdir(), aside]:
            _sync(path)
        if final.exists():
            put_aside(final, "superseded")
        aside.rename(final)
        _sync(final.parent)


def write_manifest(folder: Path) -> None:
    """Hashes each file into `manifest.json` and flushes all to disk."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name != MANIFEST)
    (folder / MANIFEST).write_text(_manifest({path.name: _sha256(path) for path in files}), encoding="utf-8")
    for path in [*files, folder / MANIFEST, folder]:
        _sync(path)


def verify(folder: Path) -> None:
    """Raises DamagedError naming the first file that is missing or not what the manifest says."""
    hint = "use an earlier checkpoint"
    try:
        text = (folder / MANIFEST).read_text(encoding="utf-8")
        hashes: dict[str, str] = json.loads(text)["files"]
        if text != _manifest(hashes) or not hashes.keys() >= {OPTIMIZER, RNG, STATE}:
            raise ValueError("changed")
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DamagedError(f"{MANIFEST} is damaged or missing", place=str(folder), hint=hint) from error
    for name, expected in hashes.items():
        path = folder / Path(name).name
        if path.is_symlink() or not path.is_file() or _sha256(path) != expected:
            raise DamagedError(f"{name} is damaged or missing", place=str(folder), hint=hint)


def newest(root: Path, reject: Callable[[Path, str], None]) -> Path | None:
    """The newest checkpoint that verifies; each newer one is put aside and given to `reject` with the reason."""
    for step in reversed(steps(root)):
        folder = path_of(root, step)
        try:
            verify(folder)
        except DamagedError as error:
            reject(put_aside(folder, "damaged"), error.message)
        else:
            return folder
    return None


def put_aside(folder: Path, why: str) -> Path:
    """Renames a checkpoint so that its step can be saved again; nothing is deleted. Returns its new place."""
    for number in range(1, 10_000):
        place = folder.with_name(f"{why}-{folder.name}" if number == 1 else f"{why}-{folder.name}.{number}")
        if not place.exists():
            return folder.rename(place)
    raise RunFailedError(f"too many {why} checkpoints", place=str(folder.parent), hint="delete them")


def mark(root: Path, name: str, step: int) -> None:
    """Makes `name` (`best`, `final`) a link to the checkpoint of a step; a link that was there is replaced at once."""
    aside = root / f".{name}.{os.getpid()}"
    aside.unlink(missing_ok=True)
    aside.symlink_to(path_of(root, step).name)
    aside.replace(root / name)


def prune(root: Path, kept: set[int]) -> None:
    """Deletes the checkpoints of all other steps. Each is renamed first, so that none is ever seen half deleted."""
    for step in steps(root):
        if step not in kept:
            doomed = root / f".step-{step:06d}.{os.getpid()}"
            path_of(root, step).rename(doomed)
            shutil.rmtree(doomed, ignore_errors=True)


def clear_unfinished(root: Path) -> None:
    """Removes what processes left that were killed while they wrote or deleted."""
    for left in root.glob(".*.*"):
        owner = left.suffix[1:]
        if owner.isdigit() and (int(owner) == os.getpid() or not psutil.pid_exists(int(owner))):
            shutil.rmtree(left, ignore_errors=True) if left.is_dir() and not left.is_symlink() else left.unlink()


def read_state(folder: Path, needed: Collection[str] = ()) -> dict[str, Any]:
    """What `state.json` says.

    Raises DamagedError where it cannot be read, and RunFailedError where it does not tell something that is needed.
    """
    try:
        found: dict[str, Any] = dict(json.loads((folder / STATE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise DamagedError(f"{STATE} is damaged or missing", place=str(folder)) from error
    missing = [name for name in needed if name not in found]
    if missing:
        hint = "continue it with the version that made it, or start a new run"
        told = f"the checkpoint is of another version of lorry: it does not tell {', '.join(missing)}"
        raise RunFailedError(told, place=str(folder), hint=hint)
    return found


def deliver(checkpoint: Path, adapter: Path) -> None:
    """Makes `adapter` the weights of a checkpoint: copied aside and renamed, what only training needs left out."""
    left_out = shutil.ignore_patterns(OPTIMIZER, RNG, STATE, MANIFEST, VALUE_HEAD, ROLLOUT)
    with _aside(adapter) as aside:
        shutil.copytree(checkpoint, aside, ignore=left_out)
        for path in [*aside.iterdir(), aside]:
            _sync(path)
        shutil.rmtree(adapter, ignore_errors=True)
        aside.rename(adapter)
        _sync(adapter.parent)


@contextmanager
def _aside(final: Path) -> Generator[Path]:
    """A free path beside `final` to write its folder at; where that fails, nothing of it stays.

    Raises RunFailedError for what the disk refuses: most often it is full.
    """
    aside = final.with_name(f".{final.name}.{os.getpid()}")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        with refusals_told(final):
            yield aside
    except RunFailedError:
        shutil.rmtree(aside, ignore_errors=True)
        raise


@contextmanager
def refusals_told(place: Path) -> Generator[None]:
    """Within, what the disk refuses becomes a RunFailedError that says what to do."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        hint = "free some space, or set LORRY_HOME to another disk; checkpoints that were written before are whole"
        raise RunFailedError(f"the weights cannot be written: {error}", place=str(place), hint=hint) from error


def _manifest(hashes: Mapping[str, str]) -> str:
    """The only text that a manifest of these hashes can have, itself hashed, so that a change anywhere in it shows."""
    files = dict(sorted(hashes.items()))
    own = hashlib.sha256(json.dumps(files).encode()).hexdigest()
    return json.dumps({"files": files, "sha256": own}, indent=1) + "\n"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
