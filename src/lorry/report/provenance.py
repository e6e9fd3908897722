"""What made an adapter: data, model, versions, hardware, code, seed and command, as one JSON object."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from lorry.recipe.schema import Recipe
from lorry.secrets.key_forms import names_a_secret
from lorry.secrets.masking import MASK, mask

_PACKAGES = (
    *("lorry", "accelerate", "attrs", "bitsandbytes", "datasets", "flash-attn", "gguf", "huggingface_hub", "jinja2"),
    *("jiwer", "liger-kernel", "numpy", "peft", "protobuf", "pyarrow", "pydantic", "PyYAML", "safetensors"),
    *("sentencepiece", "SQLAlchemy", "tokenizers", "torch", "transformers", "triton"),
)


@dataclass(frozen=True)
class Origins:
    """What an adapter was made of, as far as the run itself must tell it."""

    recipe: Recipe
    base: Path
    """The folder of the recipe."""
    model: Mapping[str, Any]
    """Where the model came from: id, kind, revision, hash."""
    data: Mapping[str, Any]
    """The facts of the prepared rows."""
    hardware: Mapping[str, Any]
    """What only the training process sees, such as the GPU's name."""
    command: Sequence[str]
    """The command line; secrets in it are masked."""
    continues: Mapping[str, Any] | None = None
    """The adapter that it went on from: how the recipe names it, the run that made it, its folder; None for a fresh one."""
    judges: Sequence[Mapping[str, Any]] = ()
    """The runs whose adapters judged its answers, in the same way, each with its place in the recipe."""


def collect(origins: Origins) -> dict[str, Any]:
    """Everything that somebody needs to know to make this adapter again, or to doubt it.

    Runs `git`; a folder without git gives null.
    """
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": masked(origins.command),
        "seed": origins.recipe.train.seed,
        "split_seed": origins.recipe.data.split_seed,
        "model": dict(origins.model),
        "continues": None if origins.continues is None else dict(origins.continues),
        "judges": [dict(one) for one in origins.judges],
        "data": dict(origins.data),
        "versions": versions(),
        "hardware": {**machine(), **origins.hardware},
        "system": {"os": platform.platform(), "python": sys.version.split()[0]},
        "git": commit(origins.base),
    }


def versions() -> dict[str, str]:
    """The installed versions of what a result depends on; what is not installed is missing."""
    found: dict[str, str] = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, Any]:
    """The processor of this computer, the cores that this process may use, and its memory in bytes."""
    import psutil

    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"cpu": _cpu_name(), "cores": usable, "memory_bytes": psutil.virtual_memory().total}


def commit(folder: Path) -> dict[str, Any] | None:
    """The git commit of the folder's repository, and whether files were changed since; None where there is none."""
    head = _git(folder, "rev-parse", "HEAD")
    if not head:
        return None
    changes = _git(folder, "status", "--porcelain", "--untracked-files=normal")
    return {"commit": head, "dirty": bool(changes) if changes is not None else None}


def masked(command: Sequence[str]) -> list[str]:
    """A command line in which values that are, or are named like, secrets are replaced by `***`."""
    words: list[str] = []
    secret_follows = False
    for word in command:
        name, equals, value = word.partition("=")
        if secret_follows:
            words.append(MASK)
        elif equals and value and names_a_secret(name):
            words.append(f"{name}={MASK}")
        else:
            words.append(mask(word))
        secret_follows = word.startswith("--") and not equals and names_a_secret(word)
    return words


def _cpu_name() -> str:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as file:
            names = (line.partition(":")[2].strip() for line in file if line.startswith("model name"))
            return next(names, "") or platform.machine()
    except OSError:
        return platform.processor() or platform.machine()


def _git(folder: Path, *words: str) -> str | None:
    """What git says; None where it fails, is missing, or takes more than ten seconds."""
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, timeout=10, env=environment, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", "replace").strip() if done.returncode == 0 else None
