"""What the trainer prints: one file an attempt, cut at a size, the last five kept."""

from __future__ import annotations

import logging
from contextlib import suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path

KEPT = 5
_BYTES = 20_000_000


class Logs:
    """Writes lines into `trainer.log`; `trainer.log.1` is the file before it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "trainer.log"
        began_before = path.exists() and path.stat().st_size > 0
        self._handler = RotatingFileHandler(
            path, maxBytes=_BYTES, backupCount=KEPT - 1, encoding="utf-8", errors="backslashreplace", delay=True
        )
        self._handler.handleError = lambda record: None  # noqa: ARG005 - a full disk must not end the agent
        if began_before:
            self._handler.doRollover()

    def write(self, line: str) -> None:
        """Appends a line."""
        self._handler.handle(logging.LogRecord("trainer", logging.INFO, "", 0, line, None, None))

    def close(self) -> None:
        """Flushes and closes the file."""
        with suppress(OSError):  # a full disk again
            self._handler.close()
