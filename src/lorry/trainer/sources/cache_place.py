"""Where the Hub's cache lies: on the volume with the most room, unless the person chose, or the model is here already."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lorry import units
from lorry.track.folder import home

_SET_BY_PERSON = ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE")
_RENTED = (Path("/workspace"), Path("/runpod-volume"))
"""Where rented machines mount their volume, which may well lie across the network."""
_OTHERS = (Path("/data"), Path("/scratch"))
_LOCAL_FILE_SYSTEMS = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "bcachefs", "apfs"})
_MUCH_MORE = 1.1
"""A volume with a little more room is no reason to move."""


@dataclass(frozen=True)
class Volume:
    """A place that the cache may have."""

    home: Path
    """What HF_HOME would be."""
    free: int
    """Bytes."""
    device: int
    """Two folders of one device share their room."""
    holds_model: bool = False


def choose_cache(default: Volume, others: Sequence[Volume]) -> Volume:
    """The volume that holds the model already, else the one with the most room; the default where they are alike."""
    for volume in (default, *others):
        if volume.holds_model:
            return volume
    elsewhere = [volume for volume in others if volume.device != default.device]
    best = max(elsewhere, key=lambda volume: volume.free, default=default)
    return best if best.free > _MUCH_MORE * default.free else default


def place_cache(model: str) -> list[str]:
    """Sets HF_HOME for this process and its children, if another volume has more room for the model; a note says so.

    Nothing moves where the person set HF_HOME or HF_HUB_CACHE, or where huggingface_hub, which reads them once, is in use.
    """
    if any(os.environ.get(name) for name in _SET_BY_PERSON) or "huggingface_hub" in sys.modules:
        return []
    default = _volume(_default_home(), model)
    if default is None:
        return []
    others = [volume for folder in _candidates() if (volume := _volume(folder, model)) is not None]
    chosen = choose_cache(default, others)
    if chosen.home == default.home:
        return []
    # The login stays where it is.
    os.environ.setdefault("HF_TOKEN_PATH", str(default.home / "token"))
    os.environ["HF_HOME"] = str(chosen.home)
    room = f"{units.size(chosen.free)} free, {units.size(default.free)} at {default.home}"
    return [f"models are kept in {chosen.home} ({room}); set HF_HOME to keep them elsewhere"]


def _default_home() -> Path:
    """As huggingface_hub has it."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "huggingface"


def _candidates() -> Iterator[Path]:
    """Lorry's own disk, and volumes at places that are known for them; no network's drive but a rented machine's volume."""
    yield home() / "huggingface"
    kinds = _file_systems()
    for mount, kind in kinds.items():
        known = mount in _OTHERS or mount.parent == Path("/mnt")
        if mount in _RENTED or (known and kind in _LOCAL_FILE_SYSTEMS):
            yield mount / "huggingface"


def _file_systems() -> dict[Path, str]:
    """Each place where something is mounted, with the kind of its file system."""
    import psutil

    try:
        return {Path(part.mountpoint): part.fstype for part in psutil.disk_partitions(all=True)}
    except (OSError, RuntimeError):
        return {}


def _volume(folder: Path, model: str) -> Volume | None:
    """What is known of a place; None where nothing can be written, or the disk does not answer."""
    snapshots = folder / "hub" / f"models--{model.replace('/', '--')}" / "snapshots"
    try:
        place = _existing(folder)
        if not os.access(place, os.W_OK):
            return None
        holds = snapshots.is_dir() and any(snapshots.iterdir())
        return Volume(folder, shutil.disk_usage(place).free, place.stat().st_dev, holds)
    except OSError:
        return None


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that exists."""
    folder = Path(os.path.abspath(folder))  # noqa: PTH100 - resolve() would follow links to other disks
    return next(place for place in (folder, *folder.parents) if place.exists())
