"""A disk of which it is known what a power cut would leave: of each file that which was flushed last."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest


class Disk:
    """Sees every `os.fsync` of this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.flushed: list[tuple[str, bytes]] = []
        """Name and content of each file as it was flushed; of a folder only the name."""
        self.refuses = ""
        """Name of a file that cannot be flushed."""
        monkeypatch.setattr(os, "fsync", self._flush)

    @property
    def names(self) -> list[str]:
        """What was flushed, in order."""
        return [name for name, _ in self.flushed]

    def _flush(self, descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if path.name == self.refuses:
            raise OSError(errno.EIO, "the disk is broken")
        self.flushed.append((path.name, path.read_bytes() if path.is_file() else b""))
