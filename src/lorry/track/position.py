"""Up to which event one receiver was told, in a file, so that nothing is lost or repeated over restarts."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from threading import Lock
from typing import Any

from lorry.track import events
from lorry.track.folder import write_json

_EMPTY: dict[str, Any] = {"delivered": 0, "memory": {}, "error": ""}


class Position:
    """The number of the last event that was delivered, what the receiver keeps in mind, and its last trouble.

    Written whole or not at all. One thread delivers and saves; another may meanwhile `complain`.
    """

    def __init__(self, path: Path, log: Path) -> None:
        self._path = path
        self._log = log
        self._lock = Lock()
        self._saved = _read(path)
        self.delivered = int(self._saved["delivered"])
        self.memory: dict[str, Any] = deepcopy(self._saved["memory"])
        self.error = str(self._saved["error"])
        """What went wrong last; empty when everything that was tried succeeded since."""

    def save(self, delivered: int) -> None:
        """Writes down where things stand; `delivered` lags behind where a receiver has not confirmed the last ones.

        The log is on the disk before: a position beyond what a power cut leaves of it would pass over the events that get
        those numbers next.
        """
        if delivered > self._saved["delivered"]:
            events.sync(self._log)
        self._write({"delivered": delivered, "memory": deepcopy(self.memory), "error": self.error})

    def complain(self, error: str) -> None:
        """Notes a trouble, and leaves the rest of the file as it was."""
        self.error = error
        self._write({**self._saved, "error": error})

    def _write(self, content: dict[str, Any]) -> None:
        with self._lock:
            if content != self._saved or not self._path.exists():
                write_json(self._path, content)
            self._saved = content


def _read(path: Path) -> dict[str, Any]:
    """The file's content; a missing or damaged file is one that says that nothing was delivered yet."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {"delivered": int(found["delivered"]), "memory": dict(found["memory"]), "error": str(found["error"])}
    except (OSError, ValueError, TypeError, KeyError):
        return deepcopy(_EMPTY)
