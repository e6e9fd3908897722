"""The bytes of one command over a link, held back while nobody reads them.

asyncssh's own readers let the other side send a whole window more each time that a little was read, so what it holds grows
without end where a machine is faster than its reader. Here reading is taken up again only when all was read, and more is held
than a window brings: so it stays below `_MOST` and two windows.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

import asyncssh

_MOST = 4 << 20
"""Bytes; twice the window that asyncssh gives."""


class Stream(asyncssh.SSHClientSession[bytes]):
    """What asyncssh calls as bytes come and go. stdout is kept to be read, stderr handed to `hear` at once."""

    def __init__(self) -> None:
        self.hear: Callable[[bytes], None] = _nobody
        self.lost: Exception | None = None
        """Why the connection under it ended, where it did not end well."""
        self._channel: asyncssh.SSHClientChannel[bytes] | None = None
        self._pieces: deque[bytes] = deque()
        self._held = 0
        self._is_paused = False
        self._is_over = False
        self._came = asyncio.Event()
        self._may_write = asyncio.Event()
        self._may_write.set()

    async def read(self, most: int) -> bytes:
        """The next bytes, at least one, as soon as there are any; none at the end of all."""
        while not self._pieces:
            if self._is_over:
                return b""
            self._came.clear()
            await self._came.wait()
        found = [self._pieces.popleft()]
        left = most - len(found[0])
        while left > 0 and self._pieces:
            found.append(self._pieces.popleft())
            left -= len(found[-1])
        if left < 0:
            self._pieces.appendleft(found[-1][left:])
            found[-1] = found[-1][:left]
        joined = b"".join(found) if len(found) > 1 else found[0]
        self._held -= len(joined)
        self._go_on()
        return joined

    async def drain(self) -> None:
        """Waits until the other side takes more. Raises BrokenPipeError where it takes no more."""
        await self._may_write.wait()
        if self._channel is None or self.lost is not None or self._channel.is_closing():
            raise BrokenPipeError

    def abort(self) -> None:
        """Ends it, with all that was not read."""
        if self._channel is not None:
            self._channel.abort()

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        """Called when the command starts."""
        self._channel = chan

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        """Called with what comes."""
        if datatype is not None:
            self.hear(data)
            return
        self._pieces.append(data)
        self._held += len(data)
        if self._held >= _MOST and self._channel is not None:
            self._is_paused = True
            self._channel.pause_reading()
        self._came.set()

    def eof_received(self) -> bool:
        """Called at the end of what comes; what goes need not end with it."""
        self._end()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Called when the command has ended, or the connection."""
        self.lost = exc
        self._channel = None
        self._end()
        self._may_write.set()

    def pause_writing(self) -> None:
        """Called when the other side takes no more for now."""
        self._may_write.clear()

    def resume_writing(self) -> None:
        """Called when it does again."""
        self._may_write.set()

    def _go_on(self) -> None:
        if self._is_paused and not self._pieces and self._channel is not None:
            self._is_paused = False
            self._channel.resume_reading()

    def _end(self) -> None:
        self._is_over = True
        self._came.set()


def _nobody(_: bytes) -> None:
    """What is said before anybody listens."""
