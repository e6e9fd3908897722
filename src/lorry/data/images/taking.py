"""Taking in the images of rows: read, decoded once to see that they are whole, and put into the album, several at a time."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from lorry.data.bad_rows import BadRowError
from lorry.data.images.opened import size_of
from lorry.data.images.picture import AlbumWriter
from lorry.data.images.references import Reference, Sources
from lorry.data.images.sources import Seen
from lorry.data.rows import Row

_THREADS = min(8, os.cpu_count() or 1)
"""Decoders leave Python's lock alone, and servers answer slowly."""
_AHEAD = 2 * _THREADS
"""Images that are held at once, beside those of the row that is being put together."""

_Taken = tuple[bytes, int, int]


@dataclass(frozen=True)
class Taking:
    """Takes images from where rows may name them."""

    album: AlbumWriter
    base: Path
    """Where the names of the rows' files start from."""
    folder: Path | None = None
    """The person's own folder of images."""
    skips_corrupt: bool = True
    """Whether rows whose image cannot be decoded are left out, and not an error."""
    seen: Seen = field(default_factory=Seen)
    """Files that were looked for, as they were."""

    def take(self, rows: Sequence[Row]) -> list[Row | BadRowError]:
        """The rows with their pictures; in place of one whose images cannot be had or decoded stands the reason."""
        if not any(row.images for row in rows):
            return list(rows)
        wanted = [(self._sources(row), one) for row in rows for one in row.images]
        with ThreadPoolExecutor(_THREADS) as pool:
            taken = _read_ahead(pool, wanted)
            return [self._with_pictures(row, [next(taken) for _ in row.images]) for row in rows]

    def _with_pictures(self, row: Row, taken: Sequence[_Taken | BadRowError]) -> Row | BadRowError:
        fault = next((one for one in taken if isinstance(one, BadRowError)), None)
        if fault is not None:
            return fault
        pictures = [self.album.add(*one) for one in taken if not isinstance(one, BadRowError)]
        return replace(row, images=(), pictures=tuple(pictures))

    def _sources(self, row: Row) -> Sources:
        is_remote = row.origin.file.startswith("hub:")
        if self.folder is not None:
            return Sources((self.folder,), is_remote, self.seen)
        if is_remote:
            return Sources((), is_remote, self.seen)
        beside = (self.base / row.origin.file).parent
        return Sources(tuple(dict.fromkeys((beside, self.base))), is_remote, self.seen)


def _read_ahead(
    pool: ThreadPoolExecutor, wanted: Sequence[tuple[Sources, Reference]]
) -> Iterator[_Taken | BadRowError]:
    """What is wanted, in its order, of which a few are read at once."""
    begun = deque[Future[_Taken | BadRowError]]()
    for one in wanted:
        begun.append(pool.submit(_read, one))
        if len(begun) == _AHEAD:
            yield begun.popleft().result()
    while begun:
        yield begun.popleft().result()


def _read(wanted: tuple[Sources, Reference]) -> _Taken | BadRowError:
    sources, one = wanted
    try:
        content = sources.read(one)
        return (content, *size_of(content, one.field))
    except BadRowError as error:
        sources.failed(one)
        return error
