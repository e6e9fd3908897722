"""Bytes to and from a command on a machine, for a thread: through the system's `ssh`, or through a link's own connection.

OpenSSH encrypts in C and in a process of its own, so large files go through it where it is installed. It is given everything
on its command line: nothing of the person's configuration, agent or known hosts is read, and no secret is shown, for the key
is named by its file.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from contextlib import suppress
from io import BufferedReader
from pathlib import Path
from typing import Any, TypeVar, cast

from lorry.compute.providers._base import Address
from lorry.compute.transport.link import Channel, KeyPair, Link

_PIPE = 1 << 20
_TAIL = 8192
_ALIAS = "lorry-machine"
_Found = TypeVar("_Found")


class Pipe(ABC):
    """A stream in both directions. One thread reads and writes; the event loop closes it, which wakes that thread."""

    def __init__(self) -> None:
        self.waiting_since: float | None = None
        """Since when (monotonic) the current read or write waits for the machine; None while none does."""

    def read(self, count: int) -> bytes:
        """So many bytes; fewer at the end of all. Blocks."""
        room = memoryview(bytearray(count))
        return bytes(room[: self.read_into(room)])

    def read_into(self, room: memoryview) -> int:
        """Fills all of it; fewer bytes at the end of all. Blocks."""
        self.waiting_since = time.monotonic()
        try:
            return self._read_into(room)
        finally:
            self.waiting_since = None

    def write(self, data: bytes | memoryview) -> bool:
        """Sends bytes, and tells whether somebody is there to take them. Blocks."""
        self.waiting_since = time.monotonic()
        try:
            return self._write(data)
        finally:
            self.waiting_since = None

    @property
    @abstractmethod
    def said(self) -> bytes:
        """What the other side said on stderr, the last of it."""

    @abstractmethod
    async def close(self) -> None:
        """Ends the stream, at once; the command sees the end of its stdin."""

    @abstractmethod
    def release(self) -> None:
        """Gives back what is left, when it is closed and no thread uses it any more."""

    @property
    def has_failed_itself(self) -> bool:
        """Whether it was this end that could not connect, not the command that ended."""
        return False

    @abstractmethod
    def _read_into(self, room: memoryview) -> int: ...

    @abstractmethod
    def _write(self, data: bytes | memoryview) -> bool: ...


class SystemPipe(Pipe):
    """A command through the system's `ssh`, on a connection of its own."""

    def __init__(self, link: Link, program: str, command: str) -> None:
        super().__init__()
        self._known = known_hosts(link.host_key)
        words = [*ssh_words(program, link.address, link.key, self._known), command]
        ends = subprocess.PIPE
        try:
            self._process = subprocess.Popen(words, stdin=ends, stdout=ends, stderr=ends, pipesize=_PIPE)
        except OSError:
            self._known.unlink()
            raise
        self._tail = bytearray()
        self._listening = threading.Thread(target=self._listen, daemon=True)
        self._listening.start()

    @property
    def said(self) -> bytes:
        """What `ssh` and the command said on stderr."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        self._listening.join(1)
        return bytes(self._tail)

    @property
    def has_failed_itself(self) -> bool:
        """255 is `ssh`'s own."""
        return self._process.poll() == 255

    async def close(self) -> None:
        """Ends `ssh`."""
        self._process.kill()
        await asyncio.to_thread(self._process.wait)
        self._known.unlink(missing_ok=True)

    def release(self) -> None:
        """Closes the pipes."""
        self._listening.join(5)
        for end in (self._process.stdin, self._process.stdout, self._process.stderr):
            if end is not None:
                with suppress(OSError):
                    end.close()

    def _read_into(self, room: memoryview) -> int:
        assert self._process.stdout is not None  # noqa: S101
        return cast("BufferedReader", self._process.stdout).readinto(room)

    def _write(self, data: bytes | memoryview) -> bool:
        assert self._process.stdin is not None  # noqa: S101
        try:
            self._process.stdin.write(data)
            self._process.stdin.flush()
        except OSError:
            return False
        return True

    def _listen(self) -> None:
        assert self._process.stderr is not None  # noqa: S101
        while found := os.read(self._process.stderr.fileno(), _TAIL):
            self._tail += found
            del self._tail[:-_TAIL]


class LinkPipe(Pipe):
    """A command on a link's own connection, which lives in another thread's event loop."""

    def __init__(self, channel: Channel, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._channel = channel
        self._loop = loop

    @property
    def said(self) -> bytes:
        """What the command said on stderr."""
        return self._channel.said

    async def close(self) -> None:
        """Ends the channel."""
        await self._channel.close()

    def release(self) -> None:
        """Nothing is left."""

    def _read_into(self, room: memoryview) -> int:
        return self._there(self._fill(room))

    def _write(self, data: bytes | memoryview) -> bool:
        return self._there(self._sent(data))

    async def _fill(self, room: memoryview) -> int:
        done = 0
        while done < len(room) and (found := await self._channel.read(len(room) - done)):
            room[done : done + len(found)] = found
            done += len(found)
        return done

    async def _sent(self, data: bytes | memoryview) -> bool:
        self._channel.write(bytes(data))
        try:
            await self._channel.drain()
        except BrokenPipeError:
            return False
        return True

    def _there(self, what: Coroutine[Any, Any, _Found]) -> _Found:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result()


def known_hosts(host_key: str) -> Path:
    """A file that knows one host by this key, for `ssh_words`; whoever asks for it removes it."""
    handle, path = tempfile.mkstemp(prefix="lorry-host-")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(f"{_ALIAS} {host_key}\n")
    return Path(path)


def ssh_words(program: str, address: Address, key: KeyPair, known: Path, *, with_terminal: bool = False) -> list[str]:
    """The words that start the system's `ssh` with nothing of the person's; the command, if any, comes after them.

    Of OpenSSH's default ciphers AES-GCM is tried first: it takes half the processor time of the first of them.
    """
    options = {
        "BatchMode": "yes",
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "ForwardAgent": "no",
        "ClearAllForwardings": "yes",
        "PreferredAuthentications": "publickey",
        "StrictHostKeyChecking": "yes",
        "UpdateHostKeys": "no",
        "CheckHostIP": "no",
        "HostKeyAlias": _ALIAS,
        "UserKnownHostsFile": _quoted(known),
        "GlobalKnownHostsFile": "none",
        "ControlMaster": "no",
        "ControlPath": "none",
        "Ciphers": "^aes128-gcm@openssh.com,aes256-gcm@openssh.com",
        "Compression": "no",
        "ConnectTimeout": "20",
        "ServerAliveInterval": "15",
        "ServerAliveCountMax": "4",
        "LogLevel": "ERROR",
    }
    told = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    where = ["-i", str(key.private).replace("%", "%%"), "-l", address.user, "-p", str(address.port), "--", address.host]
    return [program, "-F", "none", "-t" if with_terminal else "-T", *told, *where]


def _quoted(path: Path) -> str:
    """`ssh` splits this value at blanks and expands what follows a percent sign."""
    return '"' + str(path).replace("%", "%%") + '"'
