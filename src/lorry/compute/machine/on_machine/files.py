"""The other end of a transfer: reads and writes files below a folder, as frames on stdin ask, and answers on stdout.

It is sent as source to a machine that may have nothing but Python 3.8, so it imports the standard library only. A frame is one
letter, four bytes of length and so many bytes: `J` holds a JSON object, `D` bytes of a file. `transfer.py` speaks to it and
believes nothing that it says; this end believes everything, for whoever is logged in may do all that it does.

    list  root, patterns, most   batches of [name, size, mtime_ns, kind, sha256 or null, inode], then {"end": true}
    have  root, files            for each [name, size]: [size or null, sha256 or null, bytes of a part], and beats meanwhile
    put   root, name, size, ...  after a {"part", "sha256"} where it goes on from a part, takes `D`s and {"sha256"}
    get   root, name, size, ...  {"offset"}, then `D`s and {"sha256"}
"""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import stat
import struct
import sys
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO, cast

from lorry.compute.machine.on_machine.hashing import (
    BEAT,
    CHUNK,
    ChangedError,
    Digest,
    Hashes,
    Syncing,
    add_next,
    is_settled,
    mark,
)

MAGIC = b"\nlorry-files-1\n"
HEADER = struct.Struct(">cI")
BATCH = 200
IDLE = 86_400
"""Seconds without a frame after which nobody is there any more."""
_WALKED = 500_000


def part_of(path: Path) -> Path:
    """Where a file is written before it is whole."""
    return path.with_name("." + path.name + ".part")


class Server:
    """Answers what is asked on one stream until it ends."""

    def __init__(self, source: BufferedReader, sink: int) -> None:
        self._source = source
        self._sink = sink
        self._hashes = Hashes()

    def run(self) -> None:
        """Blocks until stdin ends, or something here fails; then that was the last answer."""
        self._write(MAGIC)
        asked = {"list": self._list, "have": self._have, "put": self._put, "get": self._get, "end": self._end}
        try:
            while True:
                message = self._next()
                if message is None:
                    return
                try:
                    asked[message["ask"]](message)
                except ChangedError:
                    self._tell(changed=True)
        except OSError as error:
            self._tell(error=error.strerror or str(error), path=str(error.filename or ""))
        finally:
            self._hashes.save()

    def _end(self, _: dict[str, Any]) -> None:
        self._hashes.save()
        self._tell(end=True)

    def _list(self, message: dict[str, Any]) -> None:
        root, batch, count = folder_of(message), [], 0
        patterns = [re.compile(one) for one in message["patterns"]]
        for name, status, kind in walk(root):
            if not any(pattern.fullmatch(name) for pattern in patterns):
                continue
            known = self._hashes.known(root / name, status) if kind == "file" else None
            batch.append([name, status.st_size, status.st_mtime_ns, kind, known, status.st_ino])
            count += 1
            if len(batch) == BATCH:
                self._tell(files=batch)
                batch = []
            if count > message["most"]:
                break
        if batch:
            self._tell(files=batch)
        self._tell(end=True)

    def _have(self, message: dict[str, Any]) -> None:
        root, answer = folder_of(message), []
        for name, size in message["files"]:
            status, part = status_of(root / name), status_of(part_of(root / name))
            here = status.st_size if status is not None and stat.S_ISREG(status.st_mode) else None
            sha256 = self._hashes.of(root / name, self._beat) if here == size else None
            answer.append([here, sha256, part.st_size if part else 0])
        self._tell(have=answer)

    def _put(self, message: dict[str, Any]) -> None:
        path = folder_of(message) / message["name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        part = part_of(path)
        # Whoever may not read the file here must not while it grows either.
        with os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "r+b", 0) as file:
            digest, syncing = Digest(), Syncing(file.fileno())
            try:
                done = self._part(file, digest, message)
                self._take(file, digest, syncing, message["size"] - done)
                found, told = digest.hex(), self._next()
                if told is None:
                    sys.exit()
                if told["sha256"] != found:
                    part.unlink()
                    self._tell(bad=True)
                    return
                part.chmod(message["mode"])
                os.utime(part, ns=(message["mtime_ns"], message["mtime_ns"]))
                syncing.close()
            finally:
                digest.close()
                syncing.stop()
        part.replace(path)
        sync_folder(path.parent)
        self._hashes.note(path, found, path.stat())
        self._tell(ok=True)

    def _part(self, file: BinaryIO, digest: Digest, message: dict[str, Any]) -> int:
        """Bytes of an earlier part that are the file's beginning, as the sender finds by their hash."""
        size = os.fstat(file.fileno()).st_size if message["part"] else 0
        if message["part"]:
            size = size if size <= message["size"] else 0
            self._add(file, digest, size)
            self._tell(part=size, sha256=digest.hex())
            told = self._next()
            if told is None:
                sys.exit()
            if not told["go"]:
                digest.restart()
                size = 0
        file.truncate(size)
        file.seek(size)
        return size

    def _take(self, file: BinaryIO, digest: Digest, syncing: Syncing, left: int) -> None:
        while left:
            kind, length = self._head()
            room = digest.room()[:length]
            if kind != b"D" or not 0 < length <= left or self._source.readinto(room) < length:
                sys.exit()  # the sender has given up, or is gone: the part stays
            digest.add(room)
            write_all(file.fileno(), room)
            syncing.wrote(length)
            left -= length

    def _get(self, message: dict[str, Any]) -> None:
        path, size, offset = folder_of(message) / message["name"], message["size"], message["offset"]
        with open_regular(path) as file:
            before = os.fstat(file.fileno())
            is_other = before.st_ino != message["inode"]
            if before.st_size < size or (is_other and before.st_size > size):
                raise ChangedError  # a log that has grown begins as it did; another, longer file must not be cut short
            digest = Digest()
            try:
                self._add(file, digest, offset)
                if offset and digest.hex() != message["sha256"]:
                    digest.restart()
                    file.seek(0)
                    offset = 0
                self._tell(offset=offset)
                self._give(file, digest, size - offset)
                found = digest.hex()
            finally:
                digest.close()
            if size == before.st_size and mark(before) == mark(os.fstat(file.fileno())) and is_settled(before):
                self._hashes.note(path, found, before)
        self._tell(sha256=found)

    def _give(self, file: BinaryIO, digest: Digest, left: int) -> None:
        while left:
            data = add_next(file, digest, left)
            if len(data) < min(CHUNK, left):
                raise ChangedError
            self._write(HEADER.pack(b"D", len(data)))
            write_all(self._sink, data)
            left -= len(data)

    def _add(self, file: BinaryIO, digest: Digest, left: int) -> None:
        """Adds the next bytes of a file to a hash, with signs of life."""
        told = left
        while left:
            data = add_next(file, digest, left)
            if not data:
                raise ChangedError
            left -= len(data)
            if told - left >= BEAT:
                told = left
                self._beat()

    def _beat(self) -> None:
        self._tell(beat=True)

    def _tell(self, **message: object) -> None:
        data = json.dumps(message).encode()
        self._write(HEADER.pack(b"J", len(data)) + data)

    def _next(self) -> dict[str, Any] | None:
        kind, length = self._head()
        data = self._source.read(length)
        return json.loads(data) if kind == b"J" and len(data) == length else None

    def _head(self) -> tuple[bytes, int]:
        if hasattr(signal, "alarm"):
            signal.alarm(IDLE)
        head = self._source.read(HEADER.size)
        return HEADER.unpack(head) if len(head) == HEADER.size else (b"", 0)

    def _write(self, data: bytes) -> None:
        if hasattr(signal, "alarm"):
            signal.alarm(IDLE)
        write_all(self._sink, data)


def walk(root: Path) -> Iterator[tuple[str, os.stat_result, str]]:
    """What lies below a folder: its path from there, its status and what it is. Links to folders are told, not followed."""
    waiting, seen = [""], 0
    while waiting:
        below = waiting.pop()
        try:
            entries = sorted(os.scandir(root / below), key=lambda entry: entry.name)
        except (FileNotFoundError, NotADirectoryError):
            continue  # gone since it was seen
        for entry in entries:
            seen += 1
            if seen > _WALKED:
                raise OSError(f"there are too many files below {root}")
            name = below + entry.name
            status = status_of(Path(entry.path))
            if status is None or (entry.name.startswith(".") and entry.name.endswith(".part")):
                continue
            if stat.S_ISDIR(status.st_mode):
                waiting.append(name + "/")
            elif stat.S_ISLNK(status.st_mode):
                yield name, status, "link"
                yield from behind_link(Path(entry.path), name, status)
            else:
                yield name, status, "file" if stat.S_ISREG(status.st_mode) else "device"


def behind_link(path: Path, name: str, status: os.stat_result) -> Iterator[tuple[str, os.stat_result, str]]:
    """What a linked folder holds, so that whoever wants something from within learns why it is not had."""
    try:
        inside = sorted(path.iterdir())[:BATCH] if path.is_dir() else []
    except OSError:
        inside = []
    for one in inside:
        yield name + "/" + one.name, status, "linked"


def open_regular(path: Path) -> BinaryIO:
    """A file that is one, opened for reading. Raises ChangedError for all else."""
    try:
        # Without O_NONBLOCK a pipe that nobody writes to would never open.
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        raise ChangedError from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ChangedError from None
        raise
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise ChangedError
    return os.fdopen(handle, "rb", 0)


def folder_of(message: dict[str, Any]) -> Path:
    """The folder that all names of a request are below."""
    return Path(os.path.expandvars(message["root"])).expanduser()


def status_of(path: Path) -> os.stat_result | None:
    """What lies at a path, a link itself; None for nothing."""
    try:
        return path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None


def write_all(handle: int, data: bytes | memoryview) -> None:
    """Writes all bytes."""
    left = memoryview(data)
    while left:
        left = left[os.write(handle, left) :]


def sync_folder(path: Path) -> None:
    """Brings a folder's names to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


if __name__ == "__main__":
    Server(cast("BufferedReader", sys.stdin.buffer), sys.stdout.fileno()).run()
