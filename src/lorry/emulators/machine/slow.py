"""A slow network before a machine's SSH server: bytes pass at so many a second, over all connections."""

from __future__ import annotations

import asyncio
import contextlib

_PIECE = 16384


class SlowNetwork:
    """Listens at one port of loopback and passes on to another."""

    def __init__(self, port: int, inner: int, rate: float) -> None:
        self._port, self._inner, self._rate = port, inner, rate
        self._server: asyncio.Server | None = None
        self._passing: set[asyncio.Task[None]] = set()
        self._free_at = {"up": 0.0, "down": 0.0}

    async def open(self) -> None:
        """Begins to listen; waits up to two seconds for the port."""
        for tries in range(20):
            try:
                self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
                return
            except OSError:
                if tries == 19:
                    raise
                await asyncio.sleep(0.1)

    def close(self) -> None:
        """Cuts everything off."""
        if self._server is not None:
            self._server.close()
        for task in list(self._passing):
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._passing.add(task)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self._inner)
            ways = (self._pass(reader, inner_writer, "up"), self._pass(inner_reader, writer, "down"))
            try:
                await asyncio.gather(*ways)
            finally:
                inner_writer.close()
        writer.close()
        if task is not None:
            self._passing.discard(task)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: str) -> None:
        """Passes one direction on, until either side closes; each direction has its own rate."""
        clock = asyncio.get_running_loop().time
        while piece := await reader.read(_PIECE):
            begin = max(clock(), self._free_at[way])
            self._free_at[way] = begin + len(piece) / self._rate
            await asyncio.sleep(self._free_at[way] - clock())
            writer.write(piece)
            await writer.drain()
        writer.close()
