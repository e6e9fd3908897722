"""Pictures: images of prepared rows, kept as their files' own bytes, one after the other and each once, in one file.

An album is a pair of files in the folder of prepared rows: `images.bin` (the bytes) and `images.npy` (where each begins, how
many bytes and pixels it has, and its SHA-256). Only that table is in memory; bytes are read when a batch is built.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lorry.errors import DataError

_TABLE = np.dtype([("offset", "<i8"), ("size", "<i8"), ("width", "<i4"), ("height", "<i4"), ("sha256", "V32")])


@dataclass(frozen=True, slots=True)
class Picture:
    """One image: where its bytes are, and what is known of it without decoding them."""

    file: Path
    number: int
    """Its place in the album."""
    offset: int
    size: int
    """Bytes."""
    width: int
    height: int
    """Pixels, as it is to be looked at: a photograph that lies on its side is turned."""
    sha256: bytes

    def content(self) -> bytes:
        """Its bytes. Raises DataError where they are not those that the rows were prepared with."""
        try:
            with self.file.open("rb") as file:
                file.seek(self.offset)
                found = file.read(self.size)
        except OSError as error:
            raise DataError(f"cannot be read: {error.strerror}", place=str(self.file), hint=_ANEW) from error
        if hashlib.sha256(found).digest() != self.sha256:
            raise DataError(f"image {self.number} is damaged", place=str(self.file), hint=_ANEW)
        return found


@dataclass(frozen=True, slots=True)
class Placed:
    """A picture in a row of tokens: from its first placeholder to its last, marks between them included."""

    picture: Picture
    start: int
    end: int
    grid: tuple[int, int] = (0, 0)
    """Rows and columns of tokens, for models that give each its place in the plane; (0, 0) for those that count on."""

    def moved(self, tokens: int) -> Placed:
        """The same, so many tokens further."""
        return Placed(self.picture, self.start + tokens, self.end + tokens, self.grid)


def kept_before(images: Sequence[Placed], limit: int) -> tuple[tuple[Placed, ...], int]:
    """The images of a row that is cut to `limit` tokens, and where it is cut so that none loses a part: before the image."""
    limit = min([limit, *(one.start for one in images if one.start < limit < one.end)])
    return tuple(one for one in images if one.end <= limit), limit


class Album:
    """The pictures in a folder of prepared rows, by their numbers."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "images.bin"
        table = folder / "images.npy"
        self._table: NDArray[np.void] = np.load(table) if table.is_file() else np.zeros(0, _TABLE)

    def __len__(self) -> int:
        return len(self._table)

    @property
    def bytes(self) -> int:
        """Of all images together."""
        return int(self._table["size"].sum())

    def __getitem__(self, number: int) -> Picture:
        one = self._table[number]
        size, width, height = int(one["size"]), int(one["width"]), int(one["height"])
        return Picture(self._file, number, int(one["offset"]), size, width, height, one["sha256"].tobytes())


class AlbumWriter:
    """Puts images into an album, each once; `close` makes it readable, and leaves nothing where there are none."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[bytes, Picture] = {}
        self._bytes = 0

    def add(self, content: bytes, width: int, height: int) -> Picture:
        """Adds one image, or gives the one with the same bytes."""
        digest = hashlib.sha256(content).digest()
        if digest not in self._known:
            file = self.folder / "images.bin"
            with file.open("ab") as out:
                out.write(content)
            self._known[digest] = Picture(file, len(self._known), self._bytes, len(content), width, height, digest)
            self._bytes += len(content)
        return self._known[digest]

    def copy(self, picture: Picture) -> Picture:
        """Adds one of another album."""
        return self._known.get(picture.sha256) or self.add(picture.content(), picture.width, picture.height)

    def close(self) -> int:
        """Writes the table; returns how many images there are. More may be added, and it be closed again."""
        if self._known:
            rows = [(one.offset, one.size, one.width, one.height, one.sha256) for one in self._known.values()]
            np.save(self.folder / "images.npy", np.array(rows, dtype=_TABLE))
        return len(self._known)


_ANEW = "prepare the rows again: delete the folder, and run `lorry check RECIPE`"
