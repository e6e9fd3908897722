"""SHA-256 of files that pass by, that lie here, and that were hashed before; also what brings them to disk meanwhile.

It travels to machines together with `files.py`: Python 3.8, the standard library only.
"""

from __future__ import annotations

import hashlib
import json
import os
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

CHUNK = 1 << 18
"""Bytes that are read and sent at once."""
BEAT = 1 << 28
"""Bytes that are hashed between two signs of life."""
_THREADED = 8 * CHUNK
_BUFFERS = 4
_CACHED = 20_000
_FRESH = 2_000_000_000
"""Nanoseconds: what was changed so lately may be changed again within one tick of the file system's clock, unseen."""
_SYNCED = 1 << 26


class ChangedError(Exception):
    """A file is not what was listed."""


class Digest:
    """SHA-256 of bytes in the order in which they are added; of long files in a thread beside.

    It lends the room for these bytes too, the same few buffers again and again: fresh memory each time would take longer.
    """

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._todo: queue.Queue[memoryview | None] = queue.Queue()
        self._free: queue.Queue[memoryview] = queue.Queue()
        self._made = 0
        self._thread: threading.Thread | None = None
        self._seen = 0

    def room(self) -> memoryview:
        """CHUNK bytes to be filled and added. Whatever else is done with them must be over when room is asked for again."""
        if self._free.empty() and self._made < _BUFFERS:
            self._made += 1
            return memoryview(bytearray(CHUNK))
        return self._free.get()

    def add(self, data: memoryview) -> None:
        """Adds the beginning of what `room` gave."""
        self._seen += len(data)
        if self._thread is not None:
            self._todo.put(data)
        else:
            self._update(data)
            if self._seen >= _THREADED:
                self._thread = threading.Thread(target=self._work, daemon=True)
                self._thread.start()

    def hex(self) -> str:
        """The hash of all that was added so far."""
        self.close()
        return self._hash.hexdigest()

    def restart(self) -> None:
        """Forgets what was added."""
        self.close()
        self._hash, self._seen = hashlib.sha256(), 0

    def close(self) -> None:
        """Ends the thread."""
        if self._thread is not None:
            self._todo.put(None)
            self._thread.join()
            self._thread = None

    def _work(self) -> None:
        while True:
            data = self._todo.get()
            if data is None:
                return
            self._update(data)

    def _update(self, data: memoryview) -> None:
        self._hash.update(data)
        self._free.put(memoryview(data.obj))


class Syncing:
    """Brings a file to disk while it is being written, so that little is left to wait for at its end."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self._written = 0
        self._error: OSError | None = None
        self._thread: threading.Thread | None = None

    def wrote(self, count: int) -> None:
        """Says that so many more bytes were written."""
        self._written += count
        if self._written >= _SYNCED and (self._thread is None or not self._thread.is_alive()):
            self._written = 0
            self._thread = threading.Thread(target=self._sync, daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Waits until all is on disk. Raises OSError."""
        self.stop()
        if self._error is not None:
            raise self._error
        os.fsync(self._handle)

    def stop(self) -> None:
        """Waits for what is under way."""
        if self._thread is not None:
            self._thread.join()

    def _sync(self) -> None:
        try:
            os.fsync(self._handle)
        except OSError as error:  # the system tells of lost bytes once, not again when `close` asks
            self._error = error


class Hashes:
    """Hashes of files that lie here, so that gigabytes are not read again at each comparison."""

    def __init__(self) -> None:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        self._path = Path(base, "lorry", "sha256.json")
        self._new: dict[str, list[object]] = {}
        self._known = self._read()

    def known(self, path: Path, status: os.stat_result) -> str | None:
        """The hash of a file that has not changed since it was computed."""
        found = self._known.get(str(path.resolve()))
        return str(found[1]) if found and found[0] == mark(status) else None

    def of(self, path: Path, beat: Callable[[], None] | None = None) -> str:
        """The hash of a file, read only where it is not known; `beat()` is called now and then meanwhile."""
        with path.open("rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            found = self.known(path, status) or hash_of(file, status.st_size, beat)
            if is_settled(status):
                self.note(path, found, status)
        return found

    def note(self, path: Path, sha256: str, status: os.stat_result) -> None:
        """Remembers a hash."""
        key = str(path.resolve())
        self._known[key] = self._new[key] = [mark(status), sha256]

    def save(self) -> None:
        """Writes the new ones down beside what others have written; what cannot be written is computed again."""
        if not self._new:
            return
        aside = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        kept = dict(list({**self._read(), **self._new}.items())[-_CACHED:])
        try:
            aside.parent.mkdir(parents=True, exist_ok=True)
            aside.write_text(json.dumps(kept), encoding="utf-8")
            aside.replace(self._path)
        except OSError:
            return

    def _read(self) -> dict[str, list[object]]:
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
            return {key: value for key, value in found.items() if len(value) == 2}
        except (OSError, ValueError, AttributeError, TypeError):
            return {}


def hash_of(file: BinaryIO, count: int, beat: Callable[[], None] | None = None) -> str:
    """SHA-256 of the next `count` bytes. Raises ChangedError where there are fewer."""
    digest, done, told = Digest(), 0, 0
    while done < count:
        read = add_next(file, digest, count - done)
        if not read:
            raise ChangedError
        done += len(read)
        if beat is not None and done - told >= BEAT:
            told = done
            beat()
    return digest.hex()


def add_next(file: BinaryIO, digest: Digest, left: int) -> memoryview:
    """The next bytes of an unbuffered file, at most `left`, added to a hash; none at its end."""
    room = digest.room()
    read = file.readinto(room[:left]) or 0  # type: ignore[attr-defined]
    digest.add(room[:read])
    return room[:read]


def mark(status: os.stat_result) -> list[int]:
    """What changes with a file's bytes."""
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def is_settled(status: os.stat_result) -> bool:
    """Whether a later change would show in `mark`."""
    return time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) > _FRESH
