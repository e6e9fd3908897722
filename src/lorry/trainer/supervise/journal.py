"""Events that survive a full disk: a little room is kept for the last words, and what cannot be written yet waits."""

from __future__ import annotations

import errno
import os
from collections import deque
from pathlib import Path
from threading import RLock
from typing import Any

from lorry.track.events import EventLog

_BALLAST = 256 * 1024
"""Bytes that are kept free for events: some hundred lines."""
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Journal:
    """Appends to a run's events. Safe to use from several threads; nothing is lost while the agent lives."""

    def __init__(self, path: Path, attempt: int) -> None:
        self.log = EventLog(path, attempt=attempt)
        self._lock = RLock()
        self._ballast = path.with_name(".ballast")
        self.attempt = attempt
        """The attempt that events are of from now on."""
        self._waiting: deque[tuple[int, str, int | None, dict[str, Any]]] = deque()
        self._lay_ballast()

    def append(self, kind: str, *, step: int | None = None, **data: Any) -> None:
        """Writes an event; where the disk is full, later, and in order."""
        with self._lock:
            self._waiting.append((self.attempt, kind, step, data))
            self.flush()

    def flush(self) -> None:
        """Writes what waits, as far as the disk has room."""
        with self._lock:
            while self._waiting:
                self.log.attempt, kind, step, data = self._waiting.popleft()
                try:
                    self.log.append(kind, step=step, **data)
                except OSError as error:
                    self._waiting.appendleft((self.log.attempt, kind, step, data))
                    if error.errno not in _FULL or not self._drop_ballast():
                        return

    def close(self) -> None:
        """Gives the kept room back, and writes what still waits for it."""
        self._drop_ballast()
        self.flush()

    def _lay_ballast(self) -> None:
        try:
            self._ballast.write_bytes(os.urandom(_BALLAST))  # zeros might be stored as a hole
        except OSError:
            self._ballast.unlink(missing_ok=True)

    def _drop_ballast(self) -> bool:
        there = self._ballast.exists()
        self._ballast.unlink(missing_ok=True)
        return there
