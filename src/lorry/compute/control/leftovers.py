"""What runs that are over have left: machines whose end nobody has confirmed, asked for again until somebody does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from lorry.compute import reap
from lorry.compute.control import controller
from lorry.compute.control.shared import Shared
from lorry.compute.lease import Lease
from lorry.compute.outcomes import Outcome, OutcomeError
from lorry.errors import LorryError, MayBillError
from lorry.track.events import ENDINGS
from lorry.track.folder import RunFolder

_EVERY = 60.0
"""Seconds between two looks."""
_OVER = frozenset(ENDINGS)


@dataclass
class Leftovers:
    """Those of this installation, in one process that controls runs."""

    shared: Shared
    note: Callable[[str], None]
    endings: dict[str, asyncio.Task[None]] = field(default_factory=dict[str, "asyncio.Task[None]"])

    async def end(self, *, every: float = _EVERY) -> None:
        """Ends what there is and what comes, for ever; cancelled, it leaves the rest to whoever comes next."""
        try:
            while True:
                with suppress(LorryError):  # a busy database is looked at again
                    for lease in await asyncio.to_thread(lambda: list(self.left())):
                        if lease.name not in self.endings or self.endings[lease.name].done():
                            self.endings[lease.name] = asyncio.create_task(self._ended(lease))
                await asyncio.sleep(every)
        finally:
            for task in self.endings.values():
                task.cancel()
            await asyncio.gather(*self.endings.values(), return_exceptions=True)

    def left(self) -> Iterator[Lease]:
        """Open leases of runs that are over and that nobody holds; one of another account is left alone."""
        over = {row.id: row for row in self.shared.store.list() if row.status in _OVER}
        for row in self.shared.leases.opened():
            run = over.get(row.serves)
            if run is None or controller.is_controlled(RunFolder(run.folder)):
                continue
            provider = self.shared.provider({**row.settings, "name": row.provider})
            if not row.account or reap.account(provider) == row.account:
                yield Lease(row, provider, self.shared.leases)

    async def _ended(self, lease: Lease) -> None:
        try:
            await lease.end(Outcome.STOPPED)
        except MayBillError as error:
            self.note(f"{lease.name}: {error.message}; {error.hint}")
        except (OutcomeError, LorryError) as error:
            self.note(f"{lease.name}: {error.message}")
        else:
            self.note(f"{lease.name}: ended, as its provider confirms; its run was over")
