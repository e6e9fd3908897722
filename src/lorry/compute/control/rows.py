"""Rows of the store as controllers keep them: what changed is collected, and written for all runs in one go."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import Unpack

from lorry.errors import LorryError
from lorry.track.store import Changes, Store

EVERY = 5.0
"""Seconds between two writes: hundreds of runs share one database, and nobody is shown more often."""


class Rows:
    """What is to be written about the runs of this process. `keep` writes it, from a thread."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.held: set[str] = set()
        """Runs that this process controls: their rows say that they were looked at, also where nothing is new."""
        self._changed: dict[str, Changes] = {}
        self._collecting = threading.Lock()
        self._writing = threading.Lock()

    def note(self, run_id: str, **changes: Unpack[Changes]) -> None:
        """Has changes written with the next ones; returns at once."""
        with self._collecting:
            self._changed.setdefault(run_id, Changes()).update(changes)

    def write(self) -> None:
        """Writes what was noted; on disk when this returns, also what another thread has begun to write.

        Raises LorryError where the database cannot be written: then it is kept for the next time.
        """
        with self._writing:
            with self._collecting:
                taken, self._changed = self._changed, {}
                for run_id in tuple(self.held):
                    taken.setdefault(run_id, Changes())
            try:
                if taken:
                    self.store.update_all(taken)
            except BaseException:
                with self._collecting:
                    newer, self._changed = self._changed, taken
                    for run_id, changes in newer.items():
                        taken.setdefault(run_id, Changes()).update(changes)
                raise

    def leave(self, run_id: str) -> None:
        """Writes what was noted of a run, and nothing of it after: what it has come to is written by others.

        Where the database cannot be written, it is left out: the run's own events tell it all.
        """
        self.held.discard(run_id)
        try:
            self.write()
        except LorryError:
            with self._collecting:
                self._changed.pop(run_id, None)

    async def keep(self) -> None:
        """Writes every few seconds, until cancelled; a database that is busy is tried again."""
        while True:
            await asyncio.sleep(EVERY)
            with suppress(LorryError):
                await asyncio.to_thread(self.write)
