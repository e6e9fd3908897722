"""Conversions, made once and kept: a child process writes the folder aside, and it is renamed when it is whole."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from filelock import FileLock

from lorry.errors import MissingExtraError, ModelError
from lorry.track.folder import cache, write_json

_VERSION = 1
"""Raised when the conversion writes something else than before, so that older folders are not reused."""
SMALL = 300_000_000
"""Bytes of a GGUF file up to which its weights are converted even when they are not asked for: they will be, and
leaving them out saves less time than a second conversion costs."""
_NEEDED = ("torch", "transformers", "gguf", "sentencepiece")
_QUIET = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TQDM_DISABLE": "1",
    "PYTHONWARNINGS": "ignore",
}


@dataclass(frozen=True)
class Converted:
    """A converted model: its folder, and the SHA-256 of the GGUF file it was made from (None for a folder)."""

    folder: Path
    sha256: str | None
    notes: list[str] = field(default_factory=list[str])


def convert_once(origin: Path, *, weights: bool) -> Converted:
    """The model at `origin` (a GGUF file or a folder) in a form that lorry reads, from the cache when it is there.

    Without `weights` only configuration, tokenizer and the tensors' names and shapes are made of a large model. Of
    two processes that ask at once the second waits for the first. Raises ModelError for what cannot be converted, and
    MissingExtraError.
    """
    weights = weights or (origin.is_file() and origin.stat().st_size <= SMALL)
    whole = _target(origin)
    light = whole.with_name(whole.name + "-light")
    for made in (whole,) if weights else (whole, light):
        if (made / "lorry.json").exists():
            return _opened(made, [])
    target = whole if weights else light
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_name(f".{target.name}.lock")):
        if not (target / "lorry.json").exists():
            _make(origin, target, weights)
    return _opened(target, [f"{origin.name} was converted once{'' if weights else ' (without weights)'}: {target}"])


def _target(origin: Path) -> Path:
    """Where the conversion of this very file or folder lies: the key holds path, sizes and times of change."""
    files = sorted(file for file in origin.iterdir() if file.is_file()) if origin.is_dir() else [origin]
    facts = [str(origin.resolve()), str(_VERSION)]
    facts += [f"{file.name}:{(found := file.stat()).st_size}:{found.st_mtime_ns}" for file in files]
    key = hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", origin.stem if origin.is_file() else origin.name)
    return cache() / "models" / f"{stem}-{key}"


def _opened(folder: Path, notes: list[str]) -> Converted:
    facts = json.loads((folder / "lorry.json").read_text(encoding="utf-8"))
    return Converted(folder, facts["sha256"], [*notes, *facts["notes"]])


def _make(origin: Path, target: Path, weights: bool) -> None:
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise MissingExtraError(
            f"{origin.name} must be converted, which needs {', '.join(missing)}", hint="pip install 'lorry[train]'"
        )
    _remove_leftovers(target)
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        facts = _in_child(origin, aside, weights)
        write_json(aside / "lorry.json", {"origin": str(origin), **facts})
        shutil.rmtree(target, ignore_errors=True)
        aside.rename(target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _remove_leftovers(target: Path) -> None:
    """Folders that processes left when they were killed; the lock is held, so nobody writes to them."""
    for left in target.parent.glob(f".{target.name}.*"):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)


def _in_child(origin: Path, aside: Path, weights: bool) -> dict[str, Any]:
    """Runs the conversion; its last line says how it went."""
    command = [sys.executable, "-m", "lorry.trainer.sources.convert", str(origin), str(aside)]
    command += [] if weights else ["--light"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **_QUIET})
    try:
        answer: dict[str, Any] = json.loads(done.stdout.strip().rpartition("\n")[2])
    except json.JSONDecodeError:
        answer = {"error": f"{origin.name} could not be converted: {_death(done.returncode)}", "details": done.stderr}
    if "error" in answer:
        details = RuntimeError(answer.get("details") or done.stderr)
        raise ModelError(answer["error"], hint=answer.get("hint", ""), place="model.id") from details
    return answer


def _death(code: int) -> str:
    if code == -getattr(signal, "SIGKILL", 9):
        return "the process was killed, most likely for want of memory"
    return f"the process ended with code {code}"
