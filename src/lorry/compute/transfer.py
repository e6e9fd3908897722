"""Files to and from a machine: streamed, gone on with after a cut, compared by SHA-256, and only what has changed.

    send     what lies here becomes what lies there
    fetch    what lies there, as far as it is wanted and may be, becomes what lies here
    listing  what lies there

Needs SSH and Python 3.8 on the machine, no scp, sftp or rsync. What comes from there is not trusted: see `untrusted.py`.
Large files go through the system's `ssh` where there is one, up to four at once, else over the link itself.
"""

from __future__ import annotations

import shutil
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from lorry.compute.machine.on_machine.files import BATCH
from lorry.compute.outcomes import Outcome, OutcomeError
from lorry.compute.transport.crew import Crew
from lorry.compute.transport.incoming import Incoming, hash_here, size_of
from lorry.compute.transport.link import Link
from lorry.compute.transport.outgoing import Outgoing, give
from lorry.compute.transport.peer import Peer
from lorry.compute.transport.progress import Meter, Progress
from lorry.compute.transport.untrusted import Accepted, RemoteFile, Rules, refused, safe_to_load
from lorry.errors import LorryError

__all__ = ["Progress", "RemoteFile", "Rules", "Sent", "fetch", "listing", "safe_to_load", "send"]

Tell = Callable[[Progress], None]
_ROUNDS = 4
"""Times to look again where files have changed between being listed and being read."""
_AHEAD = 16
"""Files that are asked for before the first of them has come: a round trip each would add up."""


@dataclass(frozen=True)
class Sent:
    """What a `send` did."""

    sent: tuple[str, ...]
    unchanged: tuple[str, ...]
    """Names of those that the machine had."""
    moved_bytes: int
    """That went over the line."""
    seconds: float


async def send(link: Link, files: Mapping[str, Path], root: str, *, progress: Tell | None = None) -> Sent:
    """Makes files of this computer, by their names below `root` there (`~` and `$HOME` are the machine's), what they are here.

    Each is written aside there, flushed and renamed; its mode and time come along. A cut send is gone on with by calling again.
    Raises InputError for a file that cannot be read; OutcomeError SSH_DOWN where the connection is lost, SETUP_FAILED where the
    machine cannot take them, UNTRUSTED where it does not keep to the protocol.
    """
    began, meter = time.monotonic(), Meter(progress)
    outgoing = [Outgoing.of(name, path) for name, path in files.items()]
    async with Crew(link, meter) as crew:
        control = await crew.control()
        todo = (await crew.all({control: partial(_changed, control, outgoing, root)}))[0]
        meter.expect(sum(one.size for one in todo))
        queue = deque(sorted(todo, key=lambda one: -one.size))
        peers = await crew.bulk(control, len(todo), sum(one.size for one in todo)) if todo else []
        await crew.all({peer: partial(give, peer, queue, root, meter) for peer in peers})
    meter.report(last=True)
    sent = {one.name for one in todo}
    unchanged = tuple(name for name in files if name not in sent)
    return Sent(tuple(name for name in files if name in sent), unchanged, meter.moved, time.monotonic() - began)


async def fetch(link: Link, root: str, rules: Rules, into: Path, *, progress: Tell | None = None) -> list[Path]:
    """Makes the files of a machine that the rules allow, below `root`, what lies below `into`; gives their paths here.

    Each is whole when it becomes visible; a cut fetch is gone on with by calling again. A file that grows, as logs do, comes as
    long as it was when it was listed; one that is gone by then is left out. What lies here otherwise stays.
    Raises OutcomeError UNTRUSTED for whatever must not come, SSH_DOWN where the connection is lost, SETUP_FAILED where the
    machine cannot read its own files, and LorryError for what the disk here refuses.
    """
    meter = Meter(progress)
    into = into.absolute()
    async with Crew(link, meter) as crew:
        control = await crew.control()
        for _ in range(_ROUNDS):
            found = (await crew.all({control: partial(_listed, control, root, rules)}))[0]
            todo = (await crew.all({control: partial(_wanted, control, found, root, into)}))[0]
            if not todo:
                meter.report(last=True)
                return [into / file.name for file in found]
            total = sum(file.size for file in todo)
            _check_room(into, total, rules.left_free)
            meter.expect(total)
            peers = await crew.bulk(control, len(todo), total)
            queue = deque(sorted(todo, key=lambda file: -file.size))
            changed = await crew.all({peer: partial(_take, peer, queue, root, into, meter) for peer in peers})
            if not any(changed):
                meter.report(last=True)
                return [into / file.name for file in found]
    raise refused("files that change faster than they can be read")


async def listing(link: Link, root: str, rules: Rules) -> list[RemoteFile]:
    """The files below a folder of a machine that the rules allow, by name; none where there is no such folder.

    Raises OutcomeError as `fetch` does.
    """
    async with Crew(link, Meter(None)) as crew:
        control = await crew.control()
        return (await crew.all({control: partial(_listed, control, root, rules)}))[0]


def _listed(peer: Peer, root: str, rules: Rules) -> list[RemoteFile]:
    accepted = Accepted(rules)
    peer.tell(ask="list", root=root, patterns=list(rules.allowed), most=rules.files)
    while not (message := peer.hear()).get("end"):
        batch = message.get("files")
        if not isinstance(batch, list) or not 0 < len(batch) <= BATCH:
            raise refused("a list of files that is none")
        for entry in batch:
            accepted.add(entry)
    return sorted(accepted.files, key=lambda file: file.name)


def _compared(peer: Peer, sizes: Sequence[tuple[str, int]], root: str) -> list[tuple[int | None, object, int]]:
    """What the machine has under these names: size, hash where the size is this one, and bytes of an earlier part."""
    found: list[tuple[int | None, object, int]] = []
    for start in range(0, len(sizes), BATCH):
        batch = sizes[start : start + BATCH]
        peer.tell(ask="have", root=root, files=batch)
        have = peer.hear(sum(size for _, size in batch)).get("have")
        if not isinstance(have, list) or len(have) != len(batch):
            raise refused("something else than an answer")
        found += [_one_compared(one) for one in have]
    return found


def _one_compared(one: Any) -> tuple[int | None, object, int]:
    if not isinstance(one, list) or len(one) != 3 or type(one[2]) is not int or type(one[0]) not in (int, type(None)):
        raise refused("something else than an answer")
    return one[0], one[1], one[2]


def _changed(peer: Peer, outgoing: Sequence[Outgoing], root: str) -> list[Outgoing]:
    """Those of the files that the machine does not have."""
    found = _compared(peer, [(one.name, one.size) for one in outgoing], root)
    return [
        replace(one, has_part=part > 0)
        for one, (size, sha256, part) in zip(outgoing, found, strict=True)
        if size != one.size or sha256 != hash_here(one.path)
    ]


def _wanted(peer: Peer, found: Sequence[RemoteFile], root: str, into: Path) -> list[RemoteFile]:
    """Those of the files that are not here. Asks the machine only for hashes of those that may be."""
    maybe = [file for file in found if size_of(into, file.name) == file.size]
    compared = _compared(peer, [(file.name, file.size) for file in maybe], root)
    here = {
        file.name
        for file, (size, sha256, _) in zip(maybe, compared, strict=True)
        if size == file.size and sha256 == hash_here(into / file.name)
    }
    return [file for file in found if file.name not in here]


def _take(peer: Peer, queue: deque[RemoteFile], root: str, into: Path, meter: Meter) -> list[RemoteFile]:
    """Fetches files from a queue that several threads share until it is empty; gives those that had changed meanwhile."""
    asked: deque[Incoming] = deque()
    changed: list[RemoteFile] = []
    try:
        while queue or asked:
            while len(asked) < _AHEAD and (file := _next(queue)):
                asked.append(_ask(peer, file, root, into))
            if asked and not _take_one(peer, asked[0], meter):
                changed.append(asked[0].file)
                asked[0].drop()
            if asked:
                asked.popleft().close()
    except OutcomeError as error:
        if error.outcome is Outcome.UNTRUSTED:
            for one in asked:
                one.drop()
        raise
    finally:
        for one in asked:
            one.close()
    return changed


def _next(queue: deque[RemoteFile]) -> RemoteFile | None:
    try:
        return queue.popleft()
    except IndexError:
        return None


def _ask(peer: Peer, file: RemoteFile, root: str, into: Path) -> Incoming:
    incoming = Incoming(into, file)
    about = {"name": file.name, "size": file.size, "inode": file.inode}
    peer.tell(ask="get", root=root, offset=incoming.offset, sha256=incoming.sha256, **about)
    return incoming


def _take_one(peer: Peer, incoming: Incoming, meter: Meter) -> bool:
    """Whether the file has come: it may have changed since it was listed."""
    file, told = incoming.file, peer.hear(incoming.offset)
    if told.get("changed"):
        meter.expect(-file.size)
        return False
    offset = told.get("offset")
    if type(offset) is not int:
        raise refused("something else than an answer")
    incoming.go_on_at(offset)
    meter.add(offset, file.name, moved=False)
    left = file.size - offset
    while left:
        data = peer.data(left, incoming.room())
        if data is None:
            return False
        incoming.write(data)
        meter.add(len(data), file.name)
        left -= len(data)
    incoming.finish(peer.hear().get("sha256"))
    return True


def _check_room(into: Path, total: int, left: int) -> None:
    place = next(folder for folder in (into, *into.parents) if folder.exists())
    free = shutil.disk_usage(place).free
    if total > free - left:
        told = f"{total / 1e9:.1f} GB are to come, and {free / 1e9:.1f} GB are free"
        told += f", of which {left / 1e9:.1f} GB are left so" if left else ""
        raise LorryError(
            told, place=str(into), hint="make room, or set LORRY_HOME to another disk; nothing is lost there"
        )
