"""Many machines of one provider, looked at together: providers count requests, and one listing tells of all.

RunPod's documentation has 60 requests a minute as its example: a hundred runs that each look every ten seconds are 600.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from lorry.compute.providers._base import Machine, Provider

EVERY = 10.0
"""Seconds that a listing is good for."""


class Watch:
    """A provider's machines as of at most some seconds ago; one object for all runs of an account.

    For following machines, and for waiting until one runs. Whoever connects then asks `Provider.find` for the address.
    """

    def __init__(self, provider: Provider, every: float = EVERY, clock: Callable[[], float] = time.monotonic) -> None:
        self._provider = provider
        self._every = every
        self._clock = clock
        self._listed: dict[str, Machine] = {}
        self._at: float | None = None
        self._asking: asyncio.Task[None] | None = None

    async def find(self, machine_id: str, *, within: float | None = None) -> Machine | None:
        """As `Provider.find`, as of at most `within` seconds ago (`every` where none are given).

        A machine that the listing lacks is asked for by itself before it counts as gone. Raises OutcomeError where the listing
        fails, to all who wait for it; the next one who asks tries again.
        """
        every = self._every if within is None else within
        if self._at is None or self._clock() - self._at >= every:
            await self._listed_anew()
        found = self._listed.get(machine_id)
        return found if found is not None else await self._provider.find(machine_id)

    async def _listed_anew(self) -> None:
        """Waits for a listing that all who ask meanwhile share; it goes on where one of them is cancelled."""
        if self._asking is None or self._asking.done() or self._asking.get_loop() is not asyncio.get_running_loop():
            self._asking = asyncio.create_task(self._list())
            self._asking.add_done_callback(lambda task: task.cancelled() or task.exception())
        await asyncio.shield(self._asking)

    async def _list(self) -> None:
        began = self._clock()
        self._listed = {one.id: one for one in await self._provider.list()}
        self._at = began

    def forget(self) -> None:
        """Makes the next look a fresh one, after something was made, started or ended."""
        self._at = None
