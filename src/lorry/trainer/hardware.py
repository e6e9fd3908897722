"""What this machine is, as far as training asks: device, bf16, memory in use."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import torch

from lorry.plan.device import processor_name
from lorry.plan.hardware import processor, usable_cores


def device() -> torch.device:
    """The first CUDA device, or the processor."""
    return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")


def name(on: torch.device) -> str:
    """What the device is called: as CUDA does, or the processor with its cores."""
    if on.type == "cuda":
        return torch.cuda.get_device_name(on)
    return processor_name(processor(), usable_cores())


def memory(on: torch.device) -> int:
    """Bytes that the GPU has in all; 0 for a processor."""
    return torch.cuda.get_device_properties(on).total_memory if on.type == "cuda" else 0


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
