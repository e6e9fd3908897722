"""The machine that trains, looked at again just before training: whether it can compute, and is what was paid for.

`collect` runs in the trainer's process, where torch may be imported; `judge` is pure.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lorry import units
from lorry.plan import gpus
from lorry.plan.findings import Explanation, Finding, note, refusal, warning
from lorry.track.disk import room

EXPLAINS = {
    "machine.gpu-missing": Explanation(
        "A GPU was promised, and torch sees none on the machine that trains.",
        "Training would run on the processor, many times slower, at the price of the GPU.",
        "Give the machine back, and take another; on your own, install a torch with CUDA and the driver.",
    ),
    "machine.gpu-broken": Explanation(
        "The GPU is there, and a small computation on it fails or gives a wrong result.",
        "The run would fail, or learn from wrong numbers.",
        "Give the machine back, and take another; on your own, restart it.",
    ),
    "machine.gpu-uncovered": Explanation(
        "The installed torch was not built for this GPU's compute capability.",
        "Every computation would fail with `no kernel image is available for execution on the device`.",
        "Install a torch that covers it: a newer one for newer GPUs, an older CUDA build for old ones.",
    ),
    "machine.less-memory": Explanation(
        "The GPU has less memory than was promised, or another process holds a part of it.",
        "The run was planned for what was promised, and may run out of memory.",
        "Give the machine back, or end the process that holds the memory; `nvidia-smi` lists them.",
    ),
    "machine.disk-full": Explanation(
        "The disk of the machine has less room than the run needs.",
        "The run would stop in its middle.",
        "Take a machine or a volume with more room, or keep fewer checkpoints.",
    ),
    "machine.not-writable": Explanation(
        "A folder that the run writes to cannot be written: a volume that is not mounted, or read-only.",
        "Nothing that the run makes could be kept.",
        "Mount the volume, or set LORRY_HOME to a folder that can be written.",
    ),
    "machine.ready": Explanation("The machine is what it should be."),
}

EMULATED = "LORRY_EMULATED_GPU"
_AS_SOLD = 0.9
"""Share of the promised memory that must be there: drivers and ECC keep some per cent of it for themselves."""
_KEPT_FREE = 0.85
"""Share of a GPU's memory below which somebody else uses it: a CUDA context of our own takes a few per cent."""


@dataclass(frozen=True)
class Promised:
    """What the machine should be; memory and disk in bytes, 0 for what nobody promised."""

    gpus: int = 0
    gpu_memory: int = 0
    disk: int = 0


@dataclass(frozen=True)
class GpuFacts:
    """One GPU as torch sees it; memory in bytes."""

    name: str
    memory: int
    free: int
    capability: tuple[int, int]
    trouble: str = ""
    """What went wrong with a small computation; empty when its result was right."""


@dataclass(frozen=True)
class MachineFacts:
    """What was seen; `architectures` are those that torch was built for (`sm_90`, `compute_120`)."""

    gpus: list[GpuFacts] = field(default_factory=list[GpuFacts])
    architectures: list[str] = field(default_factory=list[str])
    room: int = 0
    folders: dict[str, str] = field(default_factory=dict[str, str])
    """Each folder that is written to, with the reason why it cannot be; empty when it can."""


def judge(facts: MachineFacts, promised: Promised) -> list[Finding]:
    """What is wrong with the machine; one note when nothing is."""
    found = [
        *_gpus(facts, promised),
        *_folders(facts),
        *_disk(facts, promised),
    ]
    return found or [note("machine.ready", _described(facts))]


def collect(folders: Sequence[Path]) -> MachineFacts:
    """Looks at the machine: computes a little on the GPU that trains, and writes a file of a few bytes in each folder.

    Imports torch.
    """
    import torch

    acted = emulated_gpu()
    if acted is not None:
        written = {str(folder): _unwritable(folder) for folder in folders}
        free = min((room(folder) for folder in folders), default=0)
        major, minor = acted.capability
        return MachineFacts([acted] if acted.memory else [], [f"sm_{major}{minor}"], free, written)
    available = torch.cuda.is_available()
    return MachineFacts(
        # The one that trains: looking at others would take some of their memory, and they may be somebody else's.
        gpus=[_seen(0)] if available and torch.cuda.device_count() else [],
        architectures=torch.cuda.get_arch_list() if available else [],
        room=min((room(folder) for folder in folders), default=0),
        folders={str(folder): _unwritable(folder) for folder in folders},
    )


def emulated_gpu() -> GpuFacts | None:
    """The GPU that an emulated machine acts, without memory where it acts none; None where nothing is emulated.

    An emulated cloud sets `LORRY_EMULATED_GPU`, JSON with `name` and `memory` in bytes, on its machines; training runs on their
    processor. Nothing else sets it.
    """
    told = os.environ.get(EMULATED)
    if not told:
        return None
    try:
        found = json.loads(told)
        name, memory = str(found["name"]), int(found["memory"])
    except (ValueError, KeyError, TypeError):
        return GpuFacts("no GPU", 0, 0, (0, 0))
    spec = gpus.find(name)
    major, _, minor = str(spec.capability if spec else 9.0).partition(".")
    return GpuFacts(name, memory, memory, (int(major), int(minor)))


def covers(architectures: Sequence[str], capability: tuple[int, int]) -> bool:
    """Whether code for these architectures runs on a GPU of this compute capability.

    Binary code (`sm_86`) runs on the same major number and the same or a later minor one, intermediate code
    (`compute_90`) on anything later (CUDA C++ programming guide, "Application Compatibility"); names that end in a letter
    (`sm_90a`) mean one capability only.
    """
    for name in architectures:
        found = re.fullmatch(r"(sm|compute)_(\d+)(\d)([a-z]?)", name)
        if found is None:
            continue
        built = (int(found[2]), int(found[3]))
        if found[4] and built != capability:
            continue
        if built[0] == capability[0] and built[1] <= capability[1]:
            return True
        if found[1] == "compute" and built <= capability:
            return True
    return False


def _gpus(facts: MachineFacts, promised: Promised) -> Iterator[Finding]:
    if len(facts.gpus) < promised.gpus:
        yield refusal(
            "machine.gpu-missing",
            f"{promised.gpus} GPUs were promised, and torch sees {len(facts.gpus)}",
            remedy="take another machine, or install a torch with CUDA and the driver; "
            "to train on the processor, set CUDA_VISIBLE_DEVICES to nothing",
        )
    for number, gpu in enumerate(facts.gpus):
        place = f"GPU {number}"
        if not covers(facts.architectures, gpu.capability):
            yield refusal(
                "machine.gpu-uncovered",
                f"the installed torch has no code for {gpu.name} (compute capability {_dotted(gpu.capability)})",
                evidence=f"it was built for {', '.join(facts.architectures) or 'no GPU'}",
                remedy="install a torch that covers this GPU, or take another machine",
                place=place,
            )
        elif gpu.trouble:
            yield refusal(
                "machine.gpu-broken",
                f"{gpu.name} does not compute: {gpu.trouble}",
                remedy="take another machine, or restart this one",
                place=place,
            )
        yield from _memory(gpu, promised, place)


def _memory(gpu: GpuFacts, promised: Promised, place: str) -> Iterator[Finding]:
    if gpu.memory < _AS_SOLD * promised.gpu_memory:
        yield refusal(
            "machine.less-memory",
            f"{gpu.name} has {units.size(gpu.memory)}, and {units.size(promised.gpu_memory)} were promised",
            remedy="take another machine",
            place=place,
        )
    elif gpu.free < _KEPT_FREE * gpu.memory:
        yield warning(
            "machine.less-memory",
            f"{units.size(gpu.memory - gpu.free)} of {gpu.name}'s {units.size(gpu.memory)} are taken already",
            remedy="end what holds it: `nvidia-smi` lists the processes",
            place=place,
        )


def _folders(facts: MachineFacts) -> Iterator[Finding]:
    for folder, why in facts.folders.items():
        if why:
            yield refusal(
                "machine.not-writable",
                f"the folder cannot be written: {why}",
                remedy="mount the volume, or set LORRY_HOME to a folder that can be written",
                place=folder,
            )


def _disk(facts: MachineFacts, promised: Promised) -> Iterator[Finding]:
    if facts.room < promised.disk:
        yield refusal(
            "machine.disk-full",
            f"{units.size(facts.room)} are free, and the run needs {units.size(promised.disk)}",
            remedy="take a machine or a volume with more room, or keep fewer checkpoints",
        )


def _described(facts: MachineFacts) -> str:
    gpus = ", ".join(f"{gpu.name} with {units.size(gpu.free)} free" for gpu in facts.gpus) or "no GPU"
    return f"the machine is ready: {gpus}; {units.size(facts.room)} of disk are free"


def _dotted(capability: tuple[int, int]) -> str:
    return f"{capability[0]}.{capability[1]}"


def _seen(number: int) -> GpuFacts:
    import torch

    properties = torch.cuda.get_device_properties(number)
    trouble, free = "", 0
    try:
        free = torch.cuda.mem_get_info(number)[0]
        ones = torch.ones(64, 64, device=f"cuda:{number}")
        total = float((ones @ ones).sum())
        trouble = "" if total == 64**3 else f"64 x 64 ones multiplied sum to {total:g}, and not to {64**3}"
    except Exception as error:  # CUDA's errors have no common class
        trouble = str(error).splitlines()[0] if str(error) else type(error).__name__
    return GpuFacts(properties.name, properties.total_memory, free, (properties.major, properties.minor), trouble)


def _unwritable(folder: Path) -> str:
    """Why nothing can be written in a folder, which is made if it is not there; empty when something can."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"lorry")
            file.flush()
    except OSError as error:
        return error.strerror or str(error)
    return ""
