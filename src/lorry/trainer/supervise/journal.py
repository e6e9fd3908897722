"""Events that survive a full disk: a little room is kept for the last words, and what cannot be written yet waits."""

from __future__ import annotations

import errno
import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import Any

from lorry.track import disk
from lorry.track.events import EventLog

_BALLAST = 256 * 1024
"""Bytes that are kept free for events: some hundred lines."""
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class _Waiting:
    """An event as it was told, and when."""

    at: float
    attempt: int
    kind: str
    step: int | None
    data: dict[str, Any]


class Journal:
    """Appends to a run's events. Safe to use from several threads; nothing is lost while the agent lives."""

    def __init__(self, path: Path, attempt: int, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._at = 0.0
        self._log = EventLog(path, attempt=attempt, clock=lambda: self._at)
        self._lock = RLock()
        self._ballast = path.with_name(".ballast")
        self.attempt = attempt
        """The attempt that events are of from now on."""
        self._waiting: deque[_Waiting] = deque()
        self._lay_ballast()

    def append(self, kind: str, *, step: int | None = None, **data: Any) -> None:
        """Writes an event; where the disk is full, later, in order, and with the time of now."""
        with self._lock:
            self._waiting.append(_Waiting(self._clock(), self.attempt, kind, step, data))
            self._write()

    def flush(self) -> None:
        """Writes what waits, as far as the disk has room, and keeps a little free again where there is more."""
        with self._lock:
            self._write()
            if not self._waiting:
                self._lay_ballast()

    def close(self) -> None:
        """Gives the kept room back, and writes what still waits for it."""
        with self._lock:
            self._drop_ballast()
            self._write()

    def _write(self) -> None:
        while self._waiting:
            event = self._waiting.popleft()
            self._at, self._log.attempt = event.at, event.attempt
            try:
                self._log.append(event.kind, step=event.step, **event.data)
            except OSError as error:
                self._waiting.appendleft(event)
                if error.errno not in _FULL or not self._drop_ballast():
                    return

    def _lay_ballast(self) -> None:
        """Keeps room free, if it is not kept yet, and only where as much again is left to whoever else writes."""
        try:
            if not self._ballast.exists() and disk.room(self._ballast.parent) >= 2 * _BALLAST:
                self._ballast.write_bytes(os.urandom(_BALLAST))  # zeros might be stored as a hole
        except OSError:
            self._drop_ballast()

    def _drop_ballast(self) -> bool:
        """Whether there was any, and it is gone."""
        try:
            self._ballast.unlink()
        except OSError:
            return False
        return True
