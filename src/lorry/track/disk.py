"""Room on the disk while a run goes on: what is free, and whether the next checkpoints fit."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from lorry import units

SPARE = 200_000_000
"""Bytes that events, logs and the report may need besides."""
_FEW = 2


def room(folder: Path) -> int:
    """Bytes that are free where the folder is, or will be. Raises OSError where the disk does not answer."""
    folder = Path(os.path.abspath(folder))  # noqa: PTH100 - resolve() would follow links to other disks
    return shutil.disk_usage(next(place for place in (folder, *folder.parents) if place.exists())).free


def fits(free: int, checkpoint: int) -> bool:
    """Whether one more checkpoint of so many bytes can be written, and the rest of the run's files."""
    return free >= checkpoint + SPARE


def warn_low(free: int, checkpoint: int) -> str | None:
    """What to say when fewer than two more checkpoints fit; None while there is room.

    `checkpoint` is the size of one in bytes; 0 while none was written. Checkpoints that are cleared away are not counted.
    """
    if not fits(free, checkpoint):
        left = "no further checkpoint fits" if checkpoint else "hardly anything fits"
        return f"the disk is full but for {units.size(free)}: {left}; make room, or the run cannot save"
    if free < _FEW * checkpoint + SPARE:
        return f"the disk has {units.size(free)} left: room for one more checkpoint of {units.size(checkpoint)}"
    return None
