"""A file that comes from a machine: written aside below one folder, hashed as it comes, and visible only when it is whole."""

from __future__ import annotations

import os
import stat
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from lorry.compute.machine.on_machine.files import part_of, status_of, write_all
from lorry.compute.machine.on_machine.hashing import CHUNK, Digest, Syncing, add_next, hash_of, mark
from lorry.compute.outcomes import Outcome, OutcomeError
from lorry.compute.transport.untrusted import RemoteFile, refused, shown
from lorry.errors import LorryError

_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


class Incoming:
    """One file on its way; what came of it earlier is gone on from. `close` it.

    Raises OutcomeError UNTRUSTED where a link lies in its way, LorryError for what the disk refuses.
    """

    def __init__(self, into: Path, file: RemoteFile) -> None:
        self.file = file
        self.path = into / file.name
        self.offset = 0
        """Bytes that are here."""
        self.sha256 = ""
        """Of these bytes."""
        self._part = part_of(self.path)
        with refusals_told(self.path):
            _make_folders(into, self.path.parent)
            self._handle = os.open(_free(self._part), _FLAGS, 0o666)
        self._file = os.fdopen(self._handle, "r+b", 0)
        self._digest, self._syncing = Digest(), Syncing(self._handle)
        with refusals_told(self.path):
            self._take_up()

    def go_on_at(self, offset: int) -> None:
        """Starts where the machine does: where this end does, or at the beginning. Raises OutcomeError UNTRUSTED."""
        if offset not in (0, self.offset):
            raise refused(f"{shown(self.file.name)} from somewhere in its middle")
        with refusals_told(self.path):
            if offset != self.offset:
                self._digest.restart()
                self.offset = 0
            self._file.seek(self.offset)
            self._file.truncate(self.offset)

    def room(self) -> memoryview:
        """Where the next bytes are to be put."""
        return self._digest.room()

    def write(self, data: memoryview) -> None:
        """Takes the next bytes, which lie in `room`."""
        self._digest.add(data)
        with refusals_told(self.path):
            write_all(self._handle, data)
        self._syncing.wrote(len(data))

    def finish(self, sha256: object) -> None:
        """Makes the file visible, on disk, if it is the one that the machine read. Raises OutcomeError UNTRUSTED."""
        if sha256 != self._digest.hex():
            self.drop()
            raise refused(f"{shown(self.file.name)} with a wrong hash")
        with refusals_told(self.path):
            self._syncing.close()
            self._file.close()
            self._part.replace(self.path)
            _sync_folder(self.path.parent)

    def drop(self) -> None:
        """Removes what has come."""
        self.close()
        self._part.unlink(missing_ok=True)

    def close(self) -> None:
        """Lets go of it; what has come so far stays, hidden."""
        self._digest.close()
        self._syncing.stop()
        self._file.close()

    def _take_up(self) -> None:
        size = os.fstat(self._handle).st_size
        if 0 < size <= self.file.size:
            while add_next(self._file, self._digest, CHUNK):
                pass
            self.offset, self.sha256 = size, self._digest.hex()


def size_of(into: Path, name: str) -> int | None:
    """Bytes of a file that is here; None where there is none, or only a link."""
    status = status_of(into / name)
    if status is None or not stat.S_ISREG(status.st_mode) or not _is_within(into, (into / name).parent):
        return None
    return status.st_size


_hashes: dict[Path, tuple[list[int], str]] = {}
_MOST_HASHES = 10_000


def hash_here(path: Path) -> str:
    """SHA-256 of a file on this computer; computed once for as long as it does not change."""
    before = mark(path.stat())
    known = _hashes.get(path)
    if known is not None and known[0] == before:
        return known[1]
    with path.open("rb", buffering=0) as file:
        sha256 = hash_of(file, before[0])
    if len(_hashes) >= _MOST_HASHES:
        _hashes.clear()
    _hashes[path] = (before, sha256)
    return _hashes[path][1]


@contextmanager
def refusals_told(place: Path) -> Generator[None]:
    """Within, what this computer's disk refuses becomes a LorryError that says what to do."""
    try:
        yield
    except OSError as error:
        hint = "see that there is room and that you may write there, or set LORRY_HOME to another disk; what came stays"
        raise LorryError(f"the file cannot be written: {error.strerror}", place=str(place), hint=hint) from error


def _make_folders(into: Path, folder: Path) -> None:
    """Makes the folders between the two, none of which may be a link."""
    into.mkdir(parents=True, exist_ok=True)
    current = into
    for word in folder.relative_to(into).parts:
        current /= word
        if not current.is_symlink():
            current.mkdir(exist_ok=True)
    if not _is_within(into, folder):
        told = f"{folder} is a link, or lies behind one: nothing that comes from a machine is written through it"
        raise OutcomeError(Outcome.UNTRUSTED, told, hint="remove the link")


def _is_within(into: Path, folder: Path) -> bool:
    return folder.resolve() == into.resolve() / folder.relative_to(into)


def _free(part: Path) -> Path:
    """The same path, where nothing lies that leads to a file elsewhere: a link, or another name of one."""
    status = status_of(part)
    if status is not None and (not stat.S_ISREG(status.st_mode) or status.st_nlink > 1):
        part.unlink()
    return part


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # folders can't be opened there
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
