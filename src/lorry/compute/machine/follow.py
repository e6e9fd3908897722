"""What happens on a machine, as it happens: its events by number, heartbeat, checkpoints, and the end of training."""

from __future__ import annotations

import asyncio
import json
import shlex
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from importlib.resources import files
from typing import Protocol

from lorry.compute.machine.told import A_MINUTE, IN_ALL, LONGEST, AgentGone, Beat, Checkpoints, Ended, Judge, Told
from lorry.compute.outcomes import Outcome, OutcomeError

__all__ = ["AgentGone", "Beat", "Checkpoints", "Ended", "Patience", "Told", "batches", "follow"]


_BATCH = 200
"""Events that are given at once at most: handling more would keep other runs waiting."""


class Channel(Protocol):
    """A command on a machine, and the bytes to and from it."""

    @property
    def has_line(self) -> bool:
        """Whether a whole line has come already."""
        ...

    async def readline(self, most: int) -> bytes:
        """The next line with its end, what is left before the end of all, or nothing at it."""
        ...

    def write(self, data: bytes) -> None:
        """Sends bytes."""
        ...

    async def drain(self) -> None:
        """Waits until more is taken."""
        ...

    async def close(self) -> None:
        """Ends the command."""
        ...


class Link(Protocol):
    """A connection to a machine."""

    async def open(self, command: str) -> Channel:
        """Starts a command."""
        ...


@dataclass(frozen=True)
class Patience:
    """Seconds of waiting."""

    begin: float = 60.0
    """For the machine's first word."""
    silence: float = 45.0
    """Without a word, before the connection counts as lost."""
    pulse: float = 5.0
    """Between two heartbeats that the machine tells."""
    sign: float = 10.0
    """Between two signs of life that are sent to the machine."""
    unheard: float = 300.0
    """After which the machine's side ends, where no sign of life comes: a consumer that takes longer over one thing told
    must follow anew."""


async def follow(
    link: Link, folder: str, after: int, *, python: str = "python3", patience: Patience | None = None
) -> AsyncGenerator[Told]:
    """What the machine tells of the run in `folder` (`~` and `$HOME` allowed), from the event after number `after` on.

    It goes on after `Ended`, so that `~/.lorry/contact` stays fresh while results are fetched; close it (`aclosing`) when
    nothing more is wanted. Raises OutcomeError: SSH_DOWN where the connection is lost, and then it is followed anew from the
    last event that was kept; UNTRUSTED for what no honest machine sends.
    """
    async with aclosing(batches(link, folder, after, python=python, patience=patience)) as found:
        async for batch in found:
            for told in batch:
                yield told


async def batches(
    link: Link, folder: str, after: int, *, python: str = "python3", patience: Patience | None = None
) -> AsyncGenerator[list[Told]]:
    """The same, as much at once as has come already, so that it can be written down with one wait for the disk.

    What came before something that is UNTRUSTED is given first.
    """
    patience = patience or Patience()
    source = files("lorry.compute.machine.on_machine").joinpath("follow.py").read_bytes()
    pace = {"silence": patience.unheard, "pulse": patience.pulse, "a_minute": A_MINUTE // 2, "in_all": IN_ALL // 2}
    wanted = json.dumps({"folder": folder, "after": after, **pace})
    program = f"import sys; exec(sys.stdin.buffer.read({len(source)}))"
    channel = await link.open(f"{shlex.quote(python)} -u -c {shlex.quote(program)}")
    try:
        judge, signed = Judge(after, time.monotonic()), time.monotonic()
        await _send(channel, source + wanted.encode() + b"\n", patience.begin)
        if await _line(channel, patience.begin) != b"o 1\n":
            raise OutcomeError(Outcome.SSH_DOWN, f"`{python}` did not start on the machine to follow the run")
        while True:
            batch, wrong = await _batch(channel, judge, patience.silence)
            now = time.monotonic()
            if now - signed >= patience.sign:
                signed = now
                await _send(channel, b"\n", patience.silence)
            if batch:
                yield batch
            if wrong is not None:
                raise wrong
    finally:
        await channel.close()


async def _batch(channel: Channel, judge: Judge, seconds: float) -> tuple[list[Told], OutcomeError | None]:
    """What the next lines mean, as far as they are here once the first is; and what was wrong with the one after them."""
    found: list[Told] = []
    try:
        while True:
            told = judge.told(await _line(channel, seconds), time.monotonic())
            if told is not None:
                found.append(told)
            if len(found) >= _BATCH or not channel.has_line:
                return found, None
    except OutcomeError as error:
        return found, error


async def _line(channel: Channel, seconds: float) -> bytes:
    """The next whole line. Raises OutcomeError SSH_DOWN at the end, and where none comes in time."""
    try:
        async with asyncio.timeout(seconds):
            line = await channel.readline(LONGEST + 64)
    except TimeoutError:
        told = f"the machine has said nothing for {seconds:.0f} s"
        raise OutcomeError(Outcome.SSH_DOWN, told) from None
    if not line.endswith(b"\n"):
        raise OutcomeError(Outcome.SSH_DOWN, "the connection to the machine has ended")
    return line


async def _send(channel: Channel, data: bytes, seconds: float) -> None:
    """Sends bytes; that the command has ended is found out when its lines do."""
    channel.write(data)
    with suppress(BrokenPipeError, ConnectionResetError, TimeoutError):
        async with asyncio.timeout(seconds):
            await channel.drain()
