"""One connection to one machine, and the commands that run over it."""

from __future__ import annotations

import asyncio
import re
import shlex
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from signal import Signals
from typing import Any

import asyncssh

from lorry.compute.outcomes import Outcome, OutcomeError
from lorry.compute.providers._base import Address
from lorry.compute.transport.stream import Stream
from lorry.compute.transport.untrusted import shown

CHANNELS = 8
"""Commands at once on one connection. OpenSSH allows ten by default; one is kept for ending what overstays."""
_TAIL = 8192
"""Bytes kept of what a channel's command says on stderr."""
_PIECE = 1 << 16
_END_SECONDS = 5.0
_PAUSES = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, None)
"""Seconds before a command is started again where the machine has no room for one more: those that have just ended count there
for a moment longer."""
_KILLED = -9
_ANNOUNCED = re.compile(rb"lorry-pid (\d{1,10})\r?\n")
_ANNOUNCE = 'echo "lorry-pid $$" >&2; exec sh -c "$0"'
"""The first words of every command: sshd makes it the leader of a process group, by whose number it can be ended. SSH's own
signals don't serve, for OpenSSH refuses them in root's sessions."""


@dataclass(frozen=True)
class KeyPair:
    """The key by which machines know this installation of lorry."""

    private: Path
    public: str
    """One line as in `authorized_keys`."""


@dataclass(frozen=True)
class Done:
    """How a command on a machine ended."""

    code: int
    """Its exit code; negative the number of the signal that ended it."""
    out: bytes
    err: bytes
    is_cut: bool = False
    """Whether it was ended because it printed more than was allowed; `err` says so too."""


class Warden(asyncssh.SSHClient):
    """Lets nobody in but the host whose key is known, and knows whether the connection stands."""

    def __init__(self, host_key: str | None) -> None:
        self.wanted = host_key and asyncssh.import_public_key(host_key)
        self.seen = ""
        self.was_wrong = False
        self.is_lost = False

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:  # noqa: ARG002
        """Whether it is the host's key; at the first contact any is."""
        self.seen = one_line(key)
        self.was_wrong = bool(self.wanted) and key != self.wanted
        return not self.was_wrong

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Notes it."""
        self.is_lost = True


class Link:
    """A connection to one machine, on which several commands run at once, at most `CHANNELS`; more wait for their turn.

    Not for several threads: use it in the event loop that made it.
    """

    python: str = "python3"
    """What runs lorry's own small programs there, in the shell's words: 3.8 or later."""

    def __init__(
        self, connection: asyncssh.SSHClientConnection, address: Address, key: KeyPair, warden: Warden
    ) -> None:
        self.address = address
        self.key = key
        self.host_key = warden.seen
        """The machine's host key: one line, type and key."""
        self.system_ssh = shutil.which("ssh")
        """The program that moves large files, faster than this connection can; None for this connection."""
        self._connection = connection
        self._warden = warden
        self._turns = asyncio.Semaphore(CHANNELS)
        self._spare = CHANNELS

    @property
    def is_open(self) -> bool:
        """Whether the connection stands; a silent loss is noticed after a minute."""
        return not self._warden.is_lost

    @property
    def spare(self) -> int:
        """Commands that could be started now without waiting for others."""
        return self._spare

    async def run(self, command: str, *, stdin: bytes = b"", seconds: float = 60.0, most: int = 1 << 20) -> Done:
        """Runs a shell command to its end and gives what it printed, at most `most` bytes each of stdout and stderr.

        Where it prints more, it is ended and `is_cut` set. What it leaves running in a session of its own stays, and must not
        hold its stdout. Raises TimeoutError after `seconds`, when it was ended; OutcomeError SSH_DOWN where the connection is
        lost: then it may still run.
        """
        channel: Channel | None = None
        try:
            async with asyncio.timeout(seconds):
                channel = await self._open(command, most, is_tail=False)
                return await _done(channel, stdin, most)
        finally:
            if channel is not None:
                await channel.close()

    async def open(self, command: str) -> Channel:
        """Starts a shell command and gives the stream to talk with it: `close` it. Raises OutcomeError SSH_DOWN."""
        return await self._open(command, _TAIL, is_tail=True)

    async def close(self) -> None:
        """Ends the connection; commands that read their stdin see its end. Returns silently where it is lost already."""
        self._connection.close()
        try:
            async with asyncio.timeout(_END_SECONDS):
                await self._connection.wait_closed()
        except TimeoutError:
            self._connection.abort()

    async def _open(self, command: str, kept: int, *, is_tail: bool) -> Channel:
        await self._turns.acquire()
        self._spare -= 1
        try:
            channel = Channel(self, kept, is_tail=is_tail)
            await channel.start(f"exec sh -c {shlex.quote(_ANNOUNCE)} {shlex.quote(command)}")
        except BaseException:
            self.give_back()
            raise
        return channel

    async def start(self, words: str, stream: Stream) -> asyncssh.SSHClientChannel[bytes]:
        """Starts a command whose bytes a stream takes. Raises OutcomeError SSH_DOWN."""
        for pause in _PAUSES:
            try:
                return (await self._connection.create_session(lambda: stream, words, encoding=None))[0]
            except asyncssh.ChannelOpenError as error:
                if not self.is_open or pause is None:
                    raise self.down(error) from error
                await asyncio.sleep(pause)
            except (asyncssh.Error, OSError) as error:
                raise self.down(error) from error
        raise AssertionError

    async def end(self, pid: int) -> None:
        """Kills a command's whole process group, as far as the connection still carries that."""
        with suppress(TimeoutError, OutcomeError):
            async with asyncio.timeout(_END_SECONDS):
                channel = await self.start(f"kill -KILL -- -{pid} || kill -KILL {pid}", Stream())
                try:
                    await channel.wait_closed()
                finally:
                    channel.close()

    def down(self, error: Exception | None = None) -> OutcomeError:
        """The error of a lost connection."""
        told = f"the connection to {self.address.host}:{self.address.port} is lost"
        return OutcomeError(Outcome.SSH_DOWN, f"{told}: {shown(error)}" if error and str(error) else told)

    def give_back(self) -> None:
        """Lets the next command have its turn."""
        self._turns.release()
        self._spare += 1


class Channel:
    """A command on a machine and the bytes to and from it. What it says on stderr is kept apart, the last 8 KiB of it."""

    _channel: asyncssh.SSHClientChannel[bytes]

    def __init__(self, link: Link, kept: int, *, is_tail: bool) -> None:
        self.is_crowded = False
        """Whether it was cut off because of what it said on stderr."""
        self._link = link
        self._stream = Stream()
        self._stream.hear = self._hear
        self._kept, self._is_tail = kept, is_tail
        self._err = bytearray()
        self._pid: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._rest = bytearray()
        self._is_closed = False

    async def start(self, words: str) -> None:
        """Starts the command, once."""
        self._channel = await self._link.start(words, self._stream)

    @property
    def said(self) -> bytes:
        """What the command has said on stderr."""
        return bytes(self._err)

    async def read(self, most: int) -> bytes:
        """The next bytes, at least one, as soon as there are any; none at the end. Raises OutcomeError SSH_DOWN."""
        if not self._rest:
            return await self._more(most)
        taken = bytes(self._rest[:most])
        del self._rest[:most]
        return taken

    @property
    def has_line(self) -> bool:
        """Whether a whole line is here, so that `readline` does not wait."""
        return b"\n" in self._rest

    async def readline(self, most: int) -> bytes:
        """The next line with its end, what is left before the end of all, or nothing at it.

        Raises OutcomeError SSH_DOWN, and UNTRUSTED for a line of more than `most` bytes.
        """
        searched = 0
        while not (end := self._rest.find(b"\n", searched) + 1):
            searched = len(self._rest)
            found = await self._more(_PIECE) if searched <= most else b""
            if not found:
                end = searched
                break
            self._rest += found
        if end > most:
            raise OutcomeError(Outcome.UNTRUSTED, f"the machine sent a line of more than {most} bytes")
        line = bytes(self._rest[:end])
        del self._rest[:end]
        return line

    def write(self, data: bytes) -> None:
        """Sends bytes; `drain` after it. Those to a command that has ended are lost, and `drain` says so."""
        with suppress(OSError):
            self._channel.write(data)

    async def drain(self) -> None:
        """Waits until the machine takes more. Raises BrokenPipeError where the command has ended, OutcomeError SSH_DOWN."""
        try:
            await self._stream.drain()
        except BrokenPipeError as error:
            if self._link.is_open:
                raise
            raise self._link.down(self._stream.lost) from error

    def eof(self) -> None:
        """Ends the command's stdin."""
        with suppress(OSError):
            self._channel.write_eof()

    async def wait(self) -> int:
        """The command's exit code, negative where a signal ended it. Raises OutcomeError SSH_DOWN.

        What it prints must be read meanwhile, else it may never end.
        """
        await self._channel.wait_closed()
        ended = self._channel.get_exit_signal()
        if ended is not None:
            return _number(ended[0])
        code = self._channel.get_exit_status()
        if code is None:
            raise self._link.down(self._stream.lost)
        return code

    async def close(self) -> None:
        """Ends the command and all of its process group, if it has not ended."""
        if self._is_closed:
            return
        self._is_closed = True
        try:
            if self._channel.get_returncode() is None and self._link.is_open:
                await self._end()
        finally:
            self._channel.close()
            self._link.give_back()

    async def _more(self, most: int) -> bytes:
        found = await self._stream.read(most)
        if not found and not self._link.is_open:
            raise self._link.down(self._stream.lost)
        return found

    async def _end(self) -> None:
        """Where the command never said its number, there is nothing to end it by; the closed channel is all it sees."""
        with suppress(TimeoutError):
            await self._link.end(await asyncio.wait_for(asyncio.shield(self._pid), _END_SECONDS))

    def _hear(self, found: bytes) -> None:
        self._err += found
        if not self._pid.done() and (announced := _ANNOUNCED.search(self._err)):
            self._pid.set_result(int(announced[1]))
            del self._err[announced.start() : announced.end()]
        if len(self._err) > self._kept and self._is_tail:
            del self._err[: -self._kept]
        elif len(self._err) > self._kept:
            self.is_crowded = True
            self._stream.abort()


async def _done(channel: Channel, stdin: bytes, most: int) -> Done:
    out = bytearray()
    feeding = asyncio.create_task(_feed(channel, stdin))
    try:
        while len(out) <= most and (found := await channel.read(_PIECE)):
            out += found
    finally:
        feeding.cancel()
    if len(out) > most or channel.is_crowded:
        told = f"\nlorry: ended, for it printed more than {most} bytes\n".encode()
        return Done(_KILLED, bytes(out[:most]), channel.said[:most] + told, is_cut=True)
    code = await channel.wait()
    return Done(code, bytes(out), channel.said)


async def _feed(channel: Channel, stdin: bytes) -> None:
    with suppress(BrokenPipeError, OutcomeError):  # a command need not read; a lost connection is told where it is read
        for start in range(0, len(stdin), _PIECE):
            channel.write(stdin[start : start + _PIECE])
            await channel.drain()
    channel.eof()


def one_line(key: Any) -> str:
    """Type and key as in `known_hosts` and `authorized_keys`, without a comment."""
    return " ".join(key.export_public_key("openssh").decode().split()[:2])


def _number(name: str) -> int:
    try:
        return -int(Signals[f"SIG{name}"])
    except KeyError:  # one that this platform has not
        return -1
