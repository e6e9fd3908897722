"""So many at once of what would be too much for one process at a time: logins, transfers, requests for machines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from weakref import WeakKeyDictionary


class Turns:
    """At most `most` at once in each event loop; others wait, the first come first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()

    @asynccontextmanager
    async def taken(self) -> AsyncGenerator[None]:
        """A turn, for as long as the block runs."""
        loop = asyncio.get_running_loop()
        async with self._loops.setdefault(loop, asyncio.Semaphore(self._most)):
            yield
