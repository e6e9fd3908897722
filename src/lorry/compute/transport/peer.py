"""Talks with `on_machine/files.py` over a pipe, in a thread, and believes nothing that comes back.

Whatever the machine says is bounded in size, and each frame in the time that it may take (`SILENCE`). Raises OutcomeError:
UNTRUSTED for what is against the protocol, SSH_DOWN for an end of all that is none, SETUP_FAILED where Python cannot be run
there, or a file cannot be written.
"""

from __future__ import annotations

import json
import shlex
from functools import cache
from pathlib import Path
from typing import Any, cast

from lorry.compute.machine.on_machine import files, hashing
from lorry.compute.machine.on_machine.files import HEADER, MAGIC
from lorry.compute.machine.on_machine.hashing import BEAT, CHUNK
from lorry.compute.outcomes import Outcome, OutcomeError
from lorry.compute.transport.pipes import Pipe
from lorry.compute.transport.untrusted import refused, shown

SILENCE = 300.0
"""Seconds that a single frame may take: so long may a disk there be busy, and a slow line takes 256 KiB."""
_MOST_NOISE = 1 << 16
"""Bytes that a login shell may print before the first frame."""
_MOST_JSON = 1 << 20


class GoneError(OutcomeError):
    """The stream has ended before its time."""


@cache
def source() -> bytes:
    """What the machine runs, in one piece."""
    parts = {module.__name__: Path(str(module.__file__)).read_text(encoding="utf-8") for module in (hashing, files)}
    first = f"import sys, types\nmodule = sys.modules[{hashing.__name__!r}] = types.ModuleType({hashing.__name__!r})\n"
    rest = f"exec({parts[hashing.__name__]!r}, module.__dict__)\nexec({parts[files.__name__]!r})\n"
    return (first + rest).encode()


def command(python: str) -> str:
    """What starts the other end; `source` goes first into its stdin."""
    return f"exec {python} -u -c {shlex.quote(f'import sys; exec(sys.stdin.buffer.read({len(source())}))')}"


class Peer:
    """The other end of one pipe."""

    def __init__(self, pipe: Pipe, python: str = "python3") -> None:
        self.pipe = pipe
        self.is_overdue = False
        """Set by whoever watches over the time."""
        self._python = python

    def begin(self) -> None:
        """Starts the program there, and waits until it speaks."""
        self.pipe.write(source())
        seen = bytearray()
        while missing := _missing(seen):
            found = self.pipe.read(missing)
            if len(found) < missing:
                raise self._never_began()
            seen += found
            if len(seen) > _MOST_NOISE:
                raise refused("something else than an answer")

    def tell(self, **message: Any) -> None:
        """Sends a message."""
        data = json.dumps(message).encode()
        self._write(HEADER.pack(b"J", len(data)) + data)

    def end(self) -> None:
        """Has the program end well: it writes down which hashes it has computed."""
        self.tell(ask="end")
        self.hear()

    def put(self, data: memoryview) -> None:
        """Sends bytes of a file, at most CHUNK."""
        self._write(HEADER.pack(b"D", len(data)))
        self._write(data)

    def hear(self, reads: int = 0) -> dict[str, Any]:
        """The next message; signs of life are passed over, as many as `reads` bytes that have to be hashed there allow."""
        for _ in range(reads // BEAT + 1):
            kind, length = self._header()
            message = self._message(kind, length)
            if not message.get("beat"):
                return message
        raise refused("signs of life without end")

    def data(self, left: int, room: memoryview) -> memoryview | None:
        """The next bytes of a file of which `left` are missing, in `room`; None where the file has changed meanwhile."""
        kind, length = self._header()
        if kind == b"J":
            if self._message(kind, length).get("changed"):
                return None
            raise refused("a file with an end in its middle")
        if kind != b"D" or length != min(CHUNK, left):
            raise refused("more than it announced" if kind == b"D" and length > left else "something else than a file")
        if self.pipe.read_into(room[:length]) < length:
            raise self._gone()
        return room[:length]

    def _header(self) -> tuple[bytes, int]:
        return HEADER.unpack(self._read(HEADER.size))

    def _message(self, kind: bytes, length: int) -> dict[str, Any]:
        if kind != b"J" or length > _MOST_JSON:
            raise refused("something else than an answer")
        try:
            found = json.loads(self._read(length))
        except (ValueError, RecursionError) as error:
            raise refused("something else than an answer") from error
        if not isinstance(found, dict):
            raise refused("something else than an answer")
        message = cast("dict[str, Any]", found)
        if "error" in message:
            told = f"{shown(message.get('path', ''))}: {shown(message['error'])}".removeprefix(": ")
            raise OutcomeError(Outcome.SETUP_FAILED, f"the machine cannot read or write its files: {told}")
        return message

    def _read(self, count: int) -> bytes:
        found = self.pipe.read(count)
        if len(found) < count:
            raise self._gone()
        return found

    def _write(self, data: bytes | memoryview) -> None:
        if not self.pipe.write(data):
            # Why it has ended may be among what it has already said.
            for _ in range(1000):
                self.hear()
            raise self._gone()

    def _gone(self) -> GoneError:
        if self.is_overdue:
            return GoneError(Outcome.SSH_DOWN, f"the machine was silent for {SILENCE:g} s in the middle of a transfer")
        said = shown(self.pipe.said)
        return GoneError(Outcome.SSH_DOWN, f"the transfer was cut{': ' if said else ''}{said}")

    def _never_began(self) -> OutcomeError:
        gone = self._gone()
        if self.is_overdue or self.pipe.has_failed_itself or not self.pipe.said:
            return gone
        return OutcomeError(
            Outcome.SETUP_FAILED, f"`{self._python}` cannot be run on the machine: {shown(self.pipe.said)}"
        )


def _missing(seen: bytearray) -> int:
    """The fewest bytes that must still come before MAGIC can be at its end."""
    return next(left for left in range(len(MAGIC) + 1) if seen.endswith(MAGIC[: len(MAGIC) - left]))
