"""Room on the disks: for the model, its conversion, checkpoints and the adapter."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from lorry import units
from lorry.plan.adapter_size import parameters
from lorry.plan.checks._base import Check
from lorry.plan.findings import Explanation, Finding, note, refusal, warning
from lorry.track.disk import room

if TYPE_CHECKING:
    from lorry.plan.subject import Subject
    from lorry.recipe.schema import TrainSettings

_STATE_BYTES = 12  # a trained parameter in fp32, and AdamW's two moments
_ADAPTER_BYTES = 4  # a trained parameter as it is delivered, in fp32 at most
_NEARLY = 0.9
_ELSEWHERE = "set LORRY_HOME to a folder that you may write to, or mount the volume"


@dataclass(frozen=True)
class _Need:
    what: str
    folder: Path
    bytes: float
    is_run: bool = False
    """Whether it goes into the run's own folder."""


class DiskCheck(Check):
    """Whether the disks have room for what the run writes."""

    explains: ClassVar[Mapping[str, Explanation]] = {
        "disk.not-writable": Explanation(
            "The folder that runs are kept in cannot be written to: no rights, a read-only disk, a volume that is not there.",
            "Nothing that the run makes could be kept.",
            "Set LORRY_HOME to a folder that you may write to, or mount the volume.",
        ),
        "disk.no-more-files": Explanation(
            "The disk's table of files is full.",
            "Writing fails with `No space left on device`, although `df` shows room.",
            "Remove files, many small ones most of all; `df -i` shows how many there are.",
        ),
        "disk.full": Explanation(
            "The disk has less room than the model, its conversion, the checkpoints and the adapter take.",
            "The run would stop in its middle when the disk is full.",
            "Make room, keep fewer checkpoints (`train.keep`, `train.keep_best`), or set LORRY_HOME to another disk.",
        ),
        "disk.nearly-full": Explanation(
            "More than nine tenths of the free room will be taken.",
            "Whatever else writes to this disk may stop the run.",
            "As for `disk.full`.",
        ),
        "disk.room": Explanation(
            "How much the run writes, and how much room there is.",
        ),
    }

    def run(self, subject: Subject) -> Iterable[Finding]:
        """Sums up needs by disk and compares them with what is free; what cannot be estimated is left out."""
        from lorry.track.folder import cache, home

        for folder in dict.fromkeys(_existing(place) for place in (home(), cache())):
            yield from _writable(folder)
        by_disk: dict[int, list[_Need]] = {}
        for need in _needs(subject):
            by_disk.setdefault(_existing(need.folder).stat().st_dev, []).append(need)
        for needs in by_disk.values():
            yield from _compare(needs)


def written(subject: Subject) -> int:
    """Bytes that a run writes into its folder; 0 where the model's tensors are not known."""
    return round(sum(need.bytes for need in _needs(subject) if need.is_run))


def _writable(folder: Path) -> Iterable[Finding]:
    """Whether files can be made in a folder; none is made to find out."""
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        why = "cannot be written to" if folder.is_dir() else "is no folder"
        yield refusal("disk.not-writable", f"{folder} {why}", remedy=_ELSEWHERE, place=str(folder))
    elif hasattr(os, "statvfs") and (inside := os.statvfs(folder)).f_files and not inside.f_favail:
        yield refusal(
            "disk.no-more-files",
            f"the disk of {folder} can hold no further file, whatever room it has",
            remedy="remove files: many small ones use up a disk's table of files (`df -i` shows it)",
            place=str(folder),
        )


def _needs(subject: Subject) -> Iterable[_Need]:
    from lorry.track.folder import cache, home

    tensors = subject.tensors
    if not tensors:
        return
    stored = sum(tensor.bytes for tensor in tensors.values())
    source = subject.source
    if not any(source.folder.glob("*.safetensors")):
        if source.kind == "hub" and stored:
            from huggingface_hub.constants import HF_HUB_CACHE

            yield _Need("the model", Path(HF_HUB_CACHE), stored)
        else:
            yield _Need("the converted model", cache(), 2 * parameters(tensors))
    lora = subject.recipe.lora
    trained = subject.adapter_parameters if lora else parameters(tensors)
    kept = _kept(subject.recipe.train)
    yield _Need(f"{kept} checkpoints", home(), trained * _STATE_BYTES * kept, is_run=True)
    yield _Need("the adapter" if lora else "the trained model", home(), trained * _ADAPTER_BYTES, is_run=True)


def _kept(train: TrainSettings) -> int:
    """Checkpoints on the disk at once: the first, the last, the best, and the one being written."""
    kept = train.keep + (1 + train.keep_best if train.keep_best else 1)
    return min(kept, train.steps or kept) + 1


def _compare(needs: list[_Need]) -> Iterable[Finding]:
    folder = _existing(needs[0].folder)
    need, free = sum(need.bytes for need in needs), room(folder)
    parts = ", ".join(f"{need.what} {units.size(need.bytes)}" for need in needs)
    message = f"the run writes about {units.size(need)} below {folder}, and {units.size(free)} are free"
    if need > free:
        yield refusal("disk.full", message, evidence=parts, remedy=_remedy(needs))
    elif need > _NEARLY * free:
        yield warning("disk.nearly-full", message, evidence=parts, remedy=_remedy(needs))
    else:
        yield note("disk.room", message, evidence=parts)


def _remedy(needs: list[_Need]) -> str:
    variable = "HF_HOME" if any(need.what == "the model" for need in needs) else "LORRY_HOME"
    return f"make room, keep fewer checkpoints (train.keep, train.keep_best), or set {variable} to a folder on another disk"


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that exists."""
    folder = Path(os.path.abspath(folder))  # noqa: PTH100 - resolve() would follow links to other disks
    return next(place for place in (folder, *folder.parents) if place.exists())
