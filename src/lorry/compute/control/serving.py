"""One process for all rented runs that nobody controls: hundreds of them, each its own affair."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from lorry.compute.control import controller
from lorry.compute.control.attempt import Patience
from lorry.compute.control.controller import Settings
from lorry.compute.control.leftovers import Leftovers
from lorry.compute.control.shared import Shared
from lorry.errors import LorryError, RefusedError
from lorry.track.folder import RunFolder, home

_LOOK = 5.0
"""Seconds between two looks for runs that nobody controls."""
_TICK = 1.0
"""Seconds between two looks at what a person asks of a run: hundreds of runs look more often than one person notices."""
_REST = (30.0, 600.0)
"""First and longest rest of a run whose controlling went wrong, in seconds."""
_FILES = 8192
Settle = Callable[[RunFolder], None]


@dataclass
class Server:
    """The runs that this process controls. `settle` is called with each that has ended, in a thread."""

    settle: Settle
    shared: Shared
    settings: Settings = field(default_factory=lambda: Settings(Patience(tick=_TICK)))
    only: frozenset[str] = frozenset()
    """Ids to leave all others alone; empty for all."""
    tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict[str, "asyncio.Task[None]"])
    _rests: dict[str, tuple[float, float]] = field(default_factory=dict[str, "tuple[float, float]"])
    """Until when a run rests, and how long its next rest is."""

    async def serve(self, *, until_idle: bool) -> None:
        """Controls what there is and what comes; with `until_idle` until nothing is left."""
        rows = asyncio.create_task(self.shared.rows.keep())
        left = asyncio.create_task(Leftovers(self.shared, _note).end())
        try:
            while await self._look() or not until_idle:
                if self.tasks:
                    await asyncio.wait(self.tasks.values(), timeout=_LOOK, return_when=asyncio.FIRST_COMPLETED)
                else:
                    await asyncio.sleep(_LOOK)
        finally:
            every = [rows, left, *self.tasks.values()]
            for task in every:
                task.cancel()
            await asyncio.gather(*every, return_exceptions=True)
            await self.shared.close()

    async def _look(self) -> bool:
        """Takes up what nobody controls; whether there is anything to wait for."""
        for name in [name for name, task in self.tasks.items() if task.done()]:
            self.tasks.pop(name)
        with suppress(LorryError):  # a busy database is looked at again
            for folder in await asyncio.to_thread(self._uncontrolled, frozenset(self.tasks)):
                self.tasks[folder.id] = asyncio.create_task(self._carried_out(folder))
        return bool(self.tasks or self._rests)

    def _uncontrolled(self, ours: frozenset[str]) -> list[RunFolder]:
        now = time.monotonic()
        every = [row for row in self.shared.store.under_way() if not self.only or row.id in self.only]
        self._rests = {row.id: self._rests[row.id] for row in every if row.id in self._rests}
        rows = [row for row in every if row.id not in ours and self._rests.get(row.id, (0.0, 0.0))[0] <= now]
        for folder in [RunFolder(row.folder) for row in rows]:
            # Its controller died just before it could say so.
            if folder.is_rented and controller.has_ended(folder) and not controller.is_controlled(folder):
                with suppress(LorryError, OSError):
                    self.settle(folder)
        return controller.uncontrolled(rows)

    async def _carried_out(self, folder: RunFolder) -> None:
        """One run among others: what goes wrong with it is its own affair."""
        try:
            await controller.control(folder, lambda _event: None, self.settings, self.shared)
            self._rests.pop(folder.id, None)
        except RefusedError:
            return  # another process was faster
        except Exception as error:
            self._rest(folder, error)
        with suppress(LorryError, OSError):
            await asyncio.to_thread(self.settle, folder)

    def _rest(self, folder: RunFolder, error: Exception) -> None:
        """Leaves a run alone for a while, longer each time: what went wrong may be over then."""
        first, most = _REST
        rest = self._rests.get(folder.id, (0.0, first))[1]
        self._rests[folder.id] = (time.monotonic() + rest, min(2 * rest, most))
        told = str(error) if isinstance(error, LorryError) else f"{type(error).__name__}: {error}"
        _note(f"{folder.id}: {told}")


async def serve(
    settle: Settle, *, only: frozenset[str] = frozenset(), until_idle: bool, settings: Settings | None = None
) -> None:
    """Controls every rented run that nobody else does, and those that come; with `until_idle` until none is left.

    `settle` is called with each that has ended, in a thread. `only` are ids to leave all others alone.
    """
    allow_many_files()
    server = Server(settle, await asyncio.to_thread(Shared.open), settings or Settings(Patience(tick=_TICK)), only)
    await server.serve(until_idle=until_idle)


def allow_many_files() -> None:
    """Raises this process's limit of open files as far as it may: each run has a connection and a lock."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _note(line: str) -> None:
    log = home() / "logs" / "controller.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as file:
        file.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {line}\n")
