"""A file that goes to a machine, and the thread that sends them."""

from __future__ import annotations

import stat
from collections import deque
from collections.abc import MutableSequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lorry.compute.machine.on_machine.hashing import Digest, add_next
from lorry.compute.outcomes import Outcome, OutcomeError
from lorry.compute.transport.peer import Peer
from lorry.compute.transport.progress import Meter
from lorry.compute.transport.untrusted import refused, why_not
from lorry.errors import InputError

_AHEAD = 64
"""Files that are sent before the machine has told of the first that it arrived: a round trip each would add up."""
_TRIES = 2


@dataclass(frozen=True)
class Outgoing:
    """One file and where it goes."""

    name: str
    path: Path
    size: int
    mtime_ns: int
    mode: int
    has_part: bool = False
    """Whether the machine has something that may be its beginning."""
    tries: int = 0

    @classmethod
    def of(cls, name: str, path: Path) -> Outgoing:
        """The file as it is now. Raises InputError where it is none, or its name cannot be one there."""
        if why := why_not(name):
            raise InputError(f"{path} cannot be sent: {why}", hint="rename it; names are relative, with `/`, and plain")
        try:
            status = path.stat()
        except OSError as error:
            raise InputError(f"{path} cannot be sent: {error.strerror}", hint="see that it is there") from error
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"{path} cannot be sent: it is no file", hint="name files, not folders")
        return cls(name, path, status.st_size, status.st_mtime_ns, stat.S_IMODE(status.st_mode) & 0o777)


def give(peer: Peer, queue: deque[Outgoing], root: str, meter: Meter) -> None:
    """Sends files from a queue that several threads share, until it is empty and all have arrived."""
    sent: deque[Outgoing] = deque()
    while True:
        try:
            file = queue.popleft()
        except IndexError:
            _settle(peer, sent, queue, meter)
            if queue:
                continue
            return
        if file.has_part or len(sent) >= _AHEAD:
            _settle(peer, sent, queue, meter)
        _give_one(peer, file, root, meter)
        sent.append(file)


def _give_one(peer: Peer, file: Outgoing, root: str, meter: Meter) -> None:
    digest = Digest()
    try:
        with file.path.open("rb", buffering=0) as source:
            about = {"name": file.name, "size": file.size, "mtime_ns": file.mtime_ns, "mode": file.mode}
            peer.tell(ask="put", root=root, part=file.has_part, **about)
            left = file.size - (_go_on(peer, file, source, digest) if file.has_part else 0)
            meter.add(file.size - left, file.name, moved=False)
            while left:
                data = add_next(source, digest, left)
                if not data:
                    raise _changed(file)
                peer.put(data)
                meter.add(len(data), file.name)
                left -= len(data)
            if file.path.stat().st_mtime_ns != file.mtime_ns:
                raise _changed(file)
            peer.tell(sha256=digest.hex())
    except OSError as error:
        raise InputError(f"{file.path} cannot be read: {error.strerror}", hint="see that it is there") from error
    finally:
        digest.close()


def _go_on(peer: Peer, file: Outgoing, source: Any, digest: Digest) -> int:
    """Bytes that the machine has of this very file, and that are hashed and passed over here."""
    told = peer.hear(file.size)
    part = told.get("part")
    if type(part) is not int or not 0 <= part <= file.size:
        raise refused("a part that cannot be")
    left = part
    while left and (data := add_next(source, digest, left)):
        left -= len(data)
    is_same = left == 0 and told.get("sha256") == digest.hex()
    peer.tell(go=part if is_same else 0)
    if not is_same:
        digest.restart()
        source.seek(0)
    return part if is_same else 0


def _settle(peer: Peer, sent: deque[Outgoing], queue: MutableSequence[Outgoing], meter: Meter) -> None:
    """Hears of all that was sent whether it has arrived; what has not is sent once more."""
    while sent:
        file, told = sent.popleft(), peer.hear()
        if told.get("ok") is True:
            continue
        if told.get("bad") is not True:
            raise refused("something else than an answer")
        if file.tries + 1 >= _TRIES:
            raise OutcomeError(Outcome.SETUP_FAILED, f"{file.name} arrives damaged on the machine, time and again")
        meter.add(-file.size, file.name, moved=False)
        queue.append(replace(file, has_part=False, tries=file.tries + 1))


def _changed(file: Outgoing) -> InputError:
    return InputError(f"{file.path} was changed while it was sent", hint="try again when nothing writes to it")
