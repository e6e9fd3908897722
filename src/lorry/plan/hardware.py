"""The machine at hand, as far as it can be seen without torch: cores, memory, GPUs, and whether it computes in bf16."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

_BF16_FLAGS = {"avx512_bf16", "amx_bf16"}
"""Names in /proc/cpuinfo of instructions that multiply in bf16; the trainer asks for the same ones."""
_BF16_CAPABILITY = 8.0  # Ampere; CUDA C++ programming guide, "Compute Capabilities"
_QUERY = "name,memory.total,compute_cap,driver_version"


@dataclass(frozen=True)
class Gpu:
    """An NVIDIA GPU; memory in bytes."""

    name: str
    memory: int
    capability: float
    driver: str

    @property
    def bf16(self) -> bool:
        """Whether its tensor cores compute in bf16."""
        return self.capability >= _BF16_CAPABILITY


@dataclass(frozen=True)
class Hardware:
    """A machine; memory in bytes. `gpus` is empty where there is no NVIDIA driver."""

    processor: str
    cores: int
    memory: int
    memory_free: int
    cpu_bf16: bool
    gpus: list[Gpu] = field(default_factory=list[Gpu])
    gpu_trouble: str = ""
    """Why GPUs could not be listed although there is a driver."""

    @property
    def bf16(self) -> bool:
        """Whether training here computes in bf16 at full speed."""
        return all(gpu.bf16 for gpu in self.gpus) if self.gpus else self.cpu_bf16


def look() -> Hardware:
    """The machine at hand; takes some milliseconds, with an NVIDIA driver up to a second."""
    import psutil

    memory = psutil.virtual_memory()
    gpus, trouble = _gpus()
    return Hardware(
        processor=processor(),
        cores=usable_cores(),
        memory=memory.total,
        memory_free=memory.available,
        cpu_bf16=_cpu_has_bf16(),
        gpus=gpus,
        gpu_trouble=trouble,
    )


def processor() -> str:
    """What the processor is called."""
    return _cpu_field("model name") or platform.processor() or platform.machine()


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cpu_has_bf16() -> bool:
    return bool(_BF16_FLAGS & set(_cpu_field("flags").split()))


def _cpu_field(name: str) -> str:
    """A line of /proc/cpuinfo; empty where there is none."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return ""
    lines = (line.partition(":") for line in info.read_text(encoding="utf-8", errors="replace").splitlines())
    return next((value.strip() for key, _, value in lines if key.strip() == name), "")


def _gpus() -> tuple[list[Gpu], str]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return [], ""
    command = [program, f"--query-gpu={_QUERY}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return [], f"nvidia-smi does not answer: {error}"
    if done.returncode:
        return [], f"nvidia-smi: {(done.stdout + done.stderr).strip().splitlines()[-1:]}"
    # Warnings (`WARNING: infoROM is corrupted at gpu ...`) come between the lines that were asked for.
    found = [_gpu(line) for line in done.stdout.splitlines() if line.count(",") >= _QUERY.count(",")]
    return _visible(found, os.environ.get("CUDA_VISIBLE_DEVICES")), ""


def _visible(gpus: list[Gpu], named: str | None) -> list[Gpu]:
    """Those that CUDA is let see: by number, up to the first that is none; all where they go by other names."""
    if named is None or any(letter.isalpha() for letter in named):  # GPU-8932f937-...
        return gpus
    numbers = [part.strip() for part in named.split(",")]
    until = next((place for place, part in enumerate(numbers) if not part.isdecimal()), len(numbers))
    return [gpus[int(part)] for part in numbers[:until] if int(part) < len(gpus)]


def _gpu(line: str) -> Gpu:
    """One line of nvidia-smi: `Tesla T4, 15360, 7.5, 550.54.15`; memory is in MiB."""
    name, memory, capability, driver = (part.strip() for part in line.rsplit(",", 3))
    return Gpu(name, round(_number(memory) * 2**20), _number(capability), driver)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:  # `[N/A]`, `[Not Supported]`
        return 0.0
