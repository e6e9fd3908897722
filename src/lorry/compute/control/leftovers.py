"""What runs that are over have left: machines whose end nobody has confirmed, asked for again until somebody does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from lorry.compute import reap
from lorry.compute.control import controller
from lorry.compute.control.shared import Shared
from lorry.compute.lease import Lease
from lorry.compute.outcomes import Outcome, OutcomeError
from lorry.errors import InputError, LorryError, MayBillError
from lorry.track.events import ENDINGS
from lorry.track.folder import RunFolder
from lorry.track.leases import LeaseRow
from lorry.track.store import RunRow

_EVERY = 60.0
"""Seconds between two looks."""
_OVER = frozenset(ENDINGS)


@dataclass
class Leftovers:
    """Those of this installation, in one process that controls runs."""

    shared: Shared
    note: Callable[[str], None]
    endings: dict[str, asyncio.Task[None]] = field(default_factory=dict[str, "asyncio.Task[None]"])
    _said: set[str] = field(default_factory=set[str])
    """Leases of which it was said that they cannot be asked for."""

    async def end(self, *, every: float = _EVERY) -> None:
        """Ends what there is and what comes, for ever; cancelled, it leaves the rest to whoever comes next."""
        try:
            while True:
                with suppress(LorryError):  # a busy database is looked at again
                    for lease in (await asyncio.to_thread(self.left))[0]:
                        if lease.name not in self.endings or self.endings[lease.name].done():
                            self.endings[lease.name] = asyncio.create_task(self._ended(lease))
                await asyncio.sleep(every)
        finally:
            for task in self.endings.values():
                task.cancel()
            await asyncio.gather(*self.endings.values(), return_exceptions=True)

    def left(self, only: frozenset[str] = frozenset()) -> tuple[list[Lease], list[LeaseRow]]:
        """Open leases of runs that are over and that nobody holds; beside them those that cannot be asked for here.

        Of `only` these runs, where any are named. Why one cannot be asked for is said once.
        """
        found: list[Lease] = []
        others: list[LeaseRow] = []
        rows = [row for row in self.shared.leases.opened() if not only or row.serves in only]
        runs = {row.id: row for row in self.shared.store.list()} if rows else {}
        for row in rows:
            try:
                if _is_left(runs.get(row.serves)):
                    found.append(self._lease(row))
            except Exception as error:  # one that is broken must not keep the others from being ended
                others.append(row)
                if row.name not in self._said:
                    self.note(f"{row.name} cannot be ended here, and may bill: {error}")
                self._said.add(row.name)
        return found, others

    def _lease(self, row: LeaseRow) -> Lease:
        """Raises InputError where the provider cannot be loaded any more, or where its key is another account's."""
        provider = self.shared.provider({**row.settings, "name": row.provider})
        if row.account and reap.account(provider) != row.account:
            raise InputError(f"it was rented with another key of {row.provider} than the one here")
        return Lease(row, provider, self.shared.leases)

    async def _ended(self, lease: Lease) -> None:
        try:
            await lease.end(Outcome.STOPPED)
        except MayBillError as error:
            self.note(f"{lease.name}: {error.message}; {error.hint}")
        except (OutcomeError, LorryError) as error:
            self.note(f"{lease.name}: {error.message}")
        else:
            self.note(f"{lease.name}: ended, as its provider confirms; its run was over")


def _is_left(run: RunRow | None) -> bool:
    """Whether a run is over and nobody holds it. Raises InputError or OSError where its events cannot be read."""
    if run is None or controller.is_controlled(RunFolder(run.folder)):
        return False
    return run.status in _OVER or controller.has_ended(RunFolder(run.folder))
