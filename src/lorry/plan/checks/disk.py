"""Room on the disks: for the model, its conversion, checkpoints and the adapter."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from lorry import units
from lorry.plan.checks._base import Check
from lorry.plan.disk_needs import Need, needs
from lorry.plan.findings import Explanation, Finding, note, refusal, warning
from lorry.track.disk import room

if TYPE_CHECKING:
    from lorry.plan.subject import Subject

_NEARLY = 0.9
_ELSEWHERE = "set LORRY_HOME to a folder that you may write to, or mount the volume"


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
        by_disk: dict[int, list[Need]] = {}
        for need in needs(subject):
            by_disk.setdefault(_existing(need.folder).stat().st_dev, []).append(need)
        for together in by_disk.values():
            yield from _compare(together)


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


def _compare(needs: list[Need]) -> Iterable[Finding]:
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


def _remedy(needs: list[Need]) -> str:
    variable = "HF_HOME" if any(need.what == "the model" for need in needs) else "LORRY_HOME"
    return f"make room, keep fewer checkpoints (train.keep, train.keep_best), or set {variable} to a folder on another disk"


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that exists."""
    folder = Path(os.path.abspath(folder))  # noqa: PTH100 - resolve() would follow links to other disks
    return next(place for place in (folder, *folder.parents) if place.exists())
