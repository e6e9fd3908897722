"""A machine that is this one: commands run in a shell with a home of their own, as over SSH."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path


class Channel:
    """A process, and the bytes to and from it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        assert process.stdin
        assert process.stdout
        self._in, self._out = process.stdin, process.stdout

    @property
    def has_line(self) -> bool:
        return b"\n" in self._out._buffer  # type: ignore[attr-defined] - asyncio has no public way to see it

    async def readline(self, most: int) -> bytes:  # noqa: ARG002 - the reader's own limit is above it
        return await self._out.readline()

    def write(self, data: bytes) -> None:
        self._in.write(data)

    async def drain(self) -> None:
        await self._in.drain()

    async def close(self) -> None:
        self._in.close()
        try:
            await asyncio.wait_for(self.process.wait(), 5)
        except TimeoutError:
            self.process.kill()
            await self.process.wait()


class Here:
    """The connection."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.channels: list[Channel] = []

    async def open(self, command: str) -> Channel:
        pipe = asyncio.subprocess.PIPE
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.home)}
        process = await asyncio.create_subprocess_exec(
            "/bin/sh", "-c", f"exec {command}", stdin=pipe, stdout=pipe, env=environment, cwd=self.home, limit=1 << 21
        )
        self.channels.append(Channel(process))
        return self.channels[-1]
