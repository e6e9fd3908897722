"""What this machine is, as far as training asks: device, bf16, memory in use; and how freed memory is kept."""

from __future__ import annotations

import ctypes
import platform
import resource
import sys
from pathlib import Path

import torch

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4  # mallopt(3)


def device() -> torch.device:
    """The first CUDA device, or the processor."""
    return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")


def has_bf16(on: torch.device) -> bool:
    """Whether bf16 products run at full speed: Ampere and later, or a processor with AVX512-BF16 or AMX."""
    if on.type == "cuda":
        return torch.cuda.get_device_capability(on) >= (8, 0)
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text(encoding="utf-8") if cpuinfo.exists() else ""
    return "avx512_bf16" in flags or "amx_bf16" in flags


def peak_memory(on: torch.device) -> int:
    """Most bytes in use so far: on the GPU, or resident in this process."""
    if on.type == "cuda":
        return int(torch.cuda.max_memory_allocated(on))
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def utilisation(on: torch.device) -> int | None:
    """Per cent of the last moments in which the GPU computed; None on a processor or where it cannot be read."""
    if on.type != "cuda":
        return None
    try:
        return int(torch.cuda.utilization(on))
    except (ModuleNotFoundError, RuntimeError):
        return None


def keep_freed_memory() -> None:
    """Lets glibc keep what is freed: returning activations to the kernel after every step costs a third of a CPU step."""
    _allocate(trim=2**31 - 1, pad=256 * 2**20, maps=0)


def return_freed_memory() -> None:
    """Lets glibc take no more than is asked for and give back what is freed: slower, and for where memory is scarce."""
    _allocate(trim=2**17, pad=2**17, maps=2**16)


def _allocate(*, trim: int, pad: int, maps: int) -> None:
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL("libc.so.6")
    libc.mallopt(_M_TRIM_THRESHOLD, trim)
    libc.mallopt(_M_TOP_PAD, pad)
    libc.mallopt(_M_MMAP_MAX, maps)
    if maps:
        libc.malloc_trim(0)


def describe(on: torch.device) -> dict[str, str | int]:
    """The device in words, for provenance: name, memory in bytes, CUDA version."""
    if on.type != "cuda":
        return {"device": "cpu", "threads": torch.get_num_threads(), "bf16": str(has_bf16(on)).lower()}
    facts = torch.cuda.get_device_properties(on)
    return {
        "device": facts.name,
        "memory_bytes": facts.total_memory,
        "capability": f"{facts.major}.{facts.minor}",
        "cuda": torch.version.cuda or "",
    }
