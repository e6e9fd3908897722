"""Taking in the images of rows: read, decoded once to see that they are whole, and put into the album, several at a time."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from lorry.data.bad_rows import BadRowError
from lorry.data.images.opened import size_of
from lorry.data.images.picture import AlbumWriter, Picture
from lorry.data.images.references import Reference, Sources
from lorry.data.rows import Row

_THREADS = min(8, os.cpu_count() or 1)
"""Decoders leave Python's lock alone, and servers answer slowly."""

_Taken = tuple[bytes, Path | None, int, int]


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

    def take(self, rows: Sequence[Row]) -> list[Row | BadRowError]:
        """The rows with their pictures; in place of one whose images cannot be had or decoded stands the reason."""
        if not any(row.images for row in rows):
            return list(rows)
        wanted = [(self._sources(row), one) for row in rows for one in row.images]
        with ThreadPoolExecutor(_THREADS) as pool:
            taken = iter(list(pool.map(_read, wanted)))
        return [self._with_pictures(row, [next(taken) for _ in row.images]) for row in rows]

    def _with_pictures(self, row: Row, taken: Sequence[_Taken | BadRowError]) -> Row | BadRowError:
        fault = next((one for one in taken if isinstance(one, BadRowError)), None)
        if fault is not None:
            return fault
        pictures = [self._added(one) for one in taken if not isinstance(one, BadRowError)]
        return replace(row, images=(), pictures=tuple(pictures))

    def _added(self, taken: _Taken) -> Picture:
        content, file, width, height = taken
        if file is not None:
            self.album.sources[str(file)] = None
        return self.album.add(content, width, height)

    def _sources(self, row: Row) -> Sources:
        if self.folder is not None:
            return Sources((self.folder,))
        beside = (self.base / row.origin.file).parent
        return Sources(tuple(dict.fromkeys((beside, self.base))))


def _read(wanted: tuple[Sources, Reference]) -> _Taken | BadRowError:
    sources, one = wanted
    try:
        content, file = sources.read(one)
        return (content, file, *size_of(content, one.field))
    except BadRowError as error:
        return error
