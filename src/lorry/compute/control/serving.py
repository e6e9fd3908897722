"""One process for all rented runs that nobody controls: hundreds of them, each its own affair."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from lorry.compute import receipt
from lorry.compute.control import controller
from lorry.compute.control.attempt import Patience
from lorry.compute.control.controller import Settings
from lorry.compute.control.leftovers import Leftovers
from lorry.compute.control.shared import Shared
from lorry.errors import LorryError, RefusedError
from lorry.track.folder import RunFolder, home
from lorry.track.store import RunRow

_LOOK = 5.0
"""Seconds between two looks for runs that nobody controls."""
_TICK = 1.0
"""Seconds between two looks at what a person asks of a run: hundreds of runs look more often than one person notices."""
_REST = (30.0, 600.0)
"""First and longest rest of a run whose controlling went wrong, in seconds."""
_STAY = 86400.0
"""Seconds for which a process that has no run left stays for machines of runs that are over: APIs are down for hours."""
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
    stay: float = _STAY
    """Seconds for which machines of runs that are over are asked for once no run is left."""
    _left_out: dict[str, str] = field(default_factory=dict[str, str])
    """Why a run cannot be looked at, as it was said."""

    def __post_init__(self) -> None:
        self._leftovers = Leftovers(self.shared, _note)

    async def serve(self, *, until_idle: bool) -> None:
        """Controls what there is and what comes; with `until_idle` until nothing is left.

        Then it stays for machines of runs that are over, for at most `stay` seconds. Raises MayBillError where the end of one
        is not confirmed by then.
        """
        rows = asyncio.create_task(self.shared.rows.keep())
        left = asyncio.create_task(self._leftovers.end())
        busy_at = time.monotonic()
        try:
            while True:
                if await self._look() or not until_idle:
                    busy_at = time.monotonic()
                elif not await self._waits_for_ends(busy_at):
                    break
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

    async def _waits_for_ends(self, idle_since: float) -> bool:
        """Whether there are machines to stay for. Raises MayBillError where there are some, and no use in staying."""
        has_time = time.monotonic() - idle_since < self.stay
        try:
            leases, others = await asyncio.to_thread(self._leftovers.left, self.only)
        except LorryError:  # a busy database is looked at again
            if has_time:
                return True
            raise
        if leases and has_time:
            return True
        if rows := [*(lease.row for lease in leases), *others]:
            raise receipt.may_bill(rows)
        return False

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
        return [folder for row in rows for folder in self._to_take_up(row)]

    def _to_take_up(self, row: RunRow) -> list[RunFolder]:
        """The run, where it goes on and nobody controls it. One that cannot be looked at is left out, which is said once."""
        folder = RunFolder(row.folder)
        try:
            # Its controller died just before it could say so.
            if folder.is_rented and controller.has_ended(folder) and not controller.is_controlled(folder):
                with suppress(LorryError, OSError):
                    self.settle(folder)
            found = controller.uncontrolled([row])
        except Exception as error:  # damaged events, or a folder that is shut
            told = _in_words(error)
            if self._left_out.get(row.id) != told:
                _note(f"{row.id} is left out: {told}")
            self._left_out[row.id] = told
            return []
        self._left_out.pop(row.id, None)
        return found

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
        _note(f"{folder.id}: {_in_words(error)}")


async def serve(
    settle: Settle, *, only: frozenset[str] = frozenset(), until_idle: bool, settings: Settings | None = None
) -> None:
    """Controls every rented run that nobody else does, and those that come; with `until_idle` until none is left.

    `settle` is called with each that has ended, in a thread. `only` are ids to leave all others alone. Raises MayBillError
    where the end of a machine of a run that is over could not be had within a day.
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


def _in_words(error: Exception) -> str:
    return str(error) if isinstance(error, LorryError) else f"{type(error).__name__}: {error}"


def _note(line: str) -> None:
    log = home() / "logs" / "controller.log"
    # A full disk keeps nobody from looking after machines.
    with suppress(OSError):
        log.parent.mkdir(parents=True, exist_ok=True)
        _append(log, line)


def _append(log: Path, line: str) -> None:
    with log.open("a", encoding="utf-8") as file:
        file.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {line}\n")
