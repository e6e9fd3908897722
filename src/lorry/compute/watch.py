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

    For following machines that run. Whoever connects asks `Provider.find` itself: an address must be fresh.
    """

    def __init__(self, provider: Provider, every: float = EVERY, clock: Callable[[], float] = time.monotonic) -> None:
        self._provider = provider
        self._every = every
        self._clock = clock
        self._listed: dict[str, Machine] = {}
        self._at: float | None = None
        self._turn = asyncio.Lock()

    async def find(self, machine_id: str) -> Machine | None:
        """As `Provider.find`: a machine that the listing lacks is asked for by itself before it counts as gone.

        Raises OutcomeError where the listing fails; the next one who asks tries again.
        """
        async with self._turn:
            if self._at is None or self._clock() - self._at >= self._every:
                began = self._clock()
                self._listed = {one.id: one for one in await self._provider.list()}
                self._at = began
        found = self._listed.get(machine_id)
        return found if found is not None else await self._provider.find(machine_id)

    def forget(self) -> None:
        """Makes the next look a fresh one, after something was made, started or ended."""
        self._at = None
