"""The threads of one transfer: each talks to one peer, and all of them end together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import TracebackType
from typing import TypeVar

from lorry.compute.outcomes import OutcomeError
from lorry.compute.transport.link import Link
from lorry.compute.transport.peer import SILENCE, GoneError, Peer, command
from lorry.compute.transport.pipes import LinkPipe, Pipe, SystemPipe
from lorry.compute.transport.progress import Meter
from lorry.compute.transport.turns import Turns

BULK = 16 << 20
"""Bytes from which on a connection of the system's `ssh` is worth its start."""
_STREAMS = 4
_EACH = 64 << 20
"""Bytes for which one stream is enough."""
_SPARE = 3
"""Turns on a link that are left to other commands."""
_LOOK = 0.2
_TRANSFERS = Turns(24)
"""Transfers at once: each has threads and buffers of its own."""
_Result = TypeVar("_Result")


class Crew:
    """Peers of one link, and threads to talk with them; all are closed and over when the block is left."""

    def __init__(self, link: Link, meter: Meter) -> None:
        self.link = link
        self.meter = meter
        self._peers: list[Peer] = []
        self._turn = _TRANSFERS.taken()
        self._pool = ThreadPoolExecutor(_STREAMS + 1, thread_name_prefix="transfer")

    async def __aenter__(self) -> Crew:
        await self._turn.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                with suppress(OutcomeError):  # all is done: at worst, hashes are computed there once more
                    await self.all({peer: peer.end for peer in self._peers})
        finally:
            try:
                await self._close(self._peers)
                self._pool.shutdown()
                self._release(self._peers)
            finally:
                await self._turn.__aexit__(kind, error, trace)

    async def control(self) -> Peer:
        """A peer on the link itself, which is there at once."""
        channel = await self.link.open(command(self.link.python))
        return (await self._begin([LinkPipe(channel, asyncio.get_running_loop())]))[0]

    async def bulk(self, control: Peer, files: int, total: int) -> list[Peer]:
        """As many peers as so much is worth; `control` alone where it is little."""
        wanted = min(_STREAMS, files, 1 + total // _EACH)
        if total < BULK:
            return [control]
        found = await self._system(wanted)
        if found:
            return found
        # Others on this link wait for turns too: only those that are free are taken, so that nobody waits for each other.
        return [control, *[await self.control() for _ in range(min(wanted - 1, self.link.spare - _SPARE))]]

    async def all(self, jobs: Mapping[Peer, Callable[[], _Result]]) -> list[_Result]:
        """Runs one job for each peer in a thread, tells progress, and ends whoever stays silent.

        As soon as one goes wrong these peers are closed, and what went wrong is raised.
        """
        loop = asyncio.get_running_loop()
        futures = [loop.run_in_executor(self._pool, job) for job in jobs.values()]
        waiting = set(futures)
        try:
            while waiting and not any(future.done() and future.exception() for future in futures):
                _, waiting = await asyncio.wait(waiting, timeout=_LOOK, return_when=asyncio.FIRST_EXCEPTION)
                await self._watch()
        finally:
            if waiting:
                await self._close(jobs)
                await asyncio.wait(waiting)
                for future in waiting:  # where this was cancelled nobody else asks, and Python complains of that
                    future.exception()
        errors = [error for future in futures if (error := future.exception())]
        if errors:
            raise next((error for error in errors if not isinstance(error, GoneError)), errors[0])
        return [future.result() for future in futures]

    async def _system(self, wanted: int) -> list[Peer]:
        """Peers through the system's `ssh`; none where it isn't there or can't reach the machine, which the link still does."""
        program = self.link.system_ssh
        if program is None:
            return []
        pipes: list[Pipe] = []
        try:
            for _ in range(wanted):
                pipes.append(SystemPipe(self.link, program, command(self.link.python)))
            return await self._begin(pipes)
        except (OSError, OutcomeError):
            if pipes and not any(pipe.has_failed_itself for pipe in pipes):
                raise
            self.link.system_ssh = None
            return []

    async def _begin(self, pipes: Sequence[Pipe]) -> list[Peer]:
        peers = [Peer(pipe, self.link.python) for pipe in pipes]
        self._peers += peers
        try:
            await self.all({peer: peer.begin for peer in peers})
        except OutcomeError:
            await self._close(peers)
            self._release(peers)
            self._peers = [peer for peer in self._peers if peer not in peers]
            raise
        return peers

    async def _watch(self) -> None:
        self.meter.report()
        now = time.monotonic()
        for peer in self._peers:
            since = peer.pipe.waiting_since
            if since is not None and now - since > SILENCE and not peer.is_overdue:
                peer.is_overdue = True
                await peer.pipe.close()

    async def _close(self, peers: Iterable[Peer]) -> None:
        for peer in peers:
            await peer.pipe.close()

    def _release(self, peers: Iterable[Peer]) -> None:
        for peer in peers:
            peer.pipe.release()
