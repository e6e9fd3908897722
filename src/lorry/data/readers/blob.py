"""A file to read from, here or far away, and the checks that it holds text."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from lorry.data.bad_rows import BadRowError
from lorry.data.rows import Origin
from lorry.errors import DataError

if TYPE_CHECKING:
    from lorry.recipe.sources import Source

RawRow = tuple[dict[str, Any], Origin]
Rows = Iterator[RawRow]

LONGEST_LINE = 64 * 1024 * 1024
"""Bytes in a line; a longer one is a file without lines."""

_HEAD = 4096
_BINARY = {
    b"\x1f\x8b": ("gzip", "unpack it, or name it `.gz`"),
    b"PK\x03\x04": ("a zip archive or an Office document", "unpack it, or export it as JSONL or CSV"),
    b"\x28\xb5\x2f\xfd": ("zstd", "unpack it with `zstd -d`"),
    b"BZh": ("bzip2", "unpack it with `bunzip2`"),
    b"\xfd7zXZ": ("xz", "unpack it with `unxz`"),
    b"PAR1": ("Parquet", "name it `.parquet`"),
    b"%PDF": ("a PDF", "extract its text first"),
    b"\x89PNG": ("an image", "rows are text"),
    b"\xff\xd8\xff": ("an image", "rows are text"),
    b"SQLite format 3": ("an SQLite database", "export its rows as JSONL or CSV"),
    b"ARROW1": ("an Arrow file", "write it as Parquet"),
    b"\x80\x04\x95": ("a Python pickle", "write its rows as JSONL"),
    b"\x7fELF": ("a program", "rows are text"),
    b"version https://git-lfs": ("a Git LFS pointer", "fetch the file itself with `git lfs pull`"),
}


@dataclass(frozen=True)
class Blob:
    """A file's name as the person knows it, how it is opened, and its SHA-256."""

    name: str
    suffix: str
    """What kind of file it is: `.jsonl`, `.csv.gz`, ...; lower case."""
    opener: Callable[[], BinaryIO]
    digest: Callable[[], str]
    note: str = ""
    """What the person should know of it."""
    source: Source | None = None
    """How its rows are read, where the recipe says so for this file."""

    @classmethod
    def local(cls, path: Path, name: str) -> Blob:
        """A file on this machine."""
        return cls(name, suffix_of(path.name), lambda: _open(path, name), lambda: _sha256(path))

    @property
    def kind(self) -> str:
        """The suffix without `.gz`."""
        return self.suffix.removesuffix(".gz")

    def open(self) -> BinaryIO:
        """The file's bytes, unpacked."""
        raw = self.opener()
        return cast("BinaryIO", _Unpacked(raw)) if self.suffix.endswith(".gz") else raw

    def text(self) -> str:
        """The whole file as text. Raises DataError if it is not UTF-8."""
        refuse_binary(self)
        with unpacking(self), self.open() as file:
            content = file.read()
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            raise DataError(**not_utf8(error, error.start), place=f"{self.name}:{line}") from error


class _Unpacked(gzip.GzipFile):
    """An archive that closes the file under it, too."""

    def __init__(self, raw: BinaryIO) -> None:
        super().__init__(fileobj=raw)
        self._raw = raw

    def close(self) -> None:
        """Closes both."""
        super().close()
        self._raw.close()


class unpacking:  # noqa: N801 - reads as a verb: `with unpacking(blob)`
    """Turns a damaged archive into a DataError."""

    def __init__(self, blob: Blob) -> None:
        self._blob = blob

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, gzip.BadGzipFile | EOFError):
            hint = "copy or download the file again"
            raise DataError(f"the archive is damaged: {error}", place=self._blob.name, hint=hint) from error


def refuse_binary(blob: Blob) -> None:
    """Raises DataError if the file's first bytes show that it is no UTF-8 text."""
    with unpacking(blob), blob.open() as file:
        head = file.read(_HEAD)
    looks, hint = _looks_like(head)
    if looks:
        raise DataError(f"not a text file in UTF-8: it looks like {looks}", place=blob.name, hint=hint)


def lines(blob: Blob) -> Iterator[tuple[int, bytes | BadRowError]]:
    """Each line as it stands, and the byte at which it begins; an endless one is a bad row, and the last."""
    offset = 0
    with unpacking(blob), blob.open() as file:
        while line := file.readline(LONGEST_LINE + 1):
            if len(line) > LONGEST_LINE:
                said = f"the line is longer than {LONGEST_LINE // 2**20} MiB"
                yield offset, BadRowError(said, hint="write one row a line")
                return
            yield offset, line
            offset += len(line)


def not_utf8(error: UnicodeDecodeError, offset: int) -> dict[str, str]:
    """What to say about bytes that are no UTF-8: `message` and `hint`."""
    byte = error.object[error.start]
    hint = "save it as UTF-8, e.g. `iconv -f WINDOWS-1252 -t UTF-8 IN > OUT`"
    return {"message": f"not UTF-8: byte 0x{byte:02x} at offset {offset}, as in Windows-1252 or Latin-1", "hint": hint}


def _looks_like(head: bytes) -> tuple[str, str]:
    for magic, (name, hint) in _BINARY.items():
        if head.startswith(magic):
            return name, hint
    convert = "save it as UTF-8, e.g. `iconv -f UTF-16 -t UTF-8 IN > OUT`"
    if head.startswith((b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff")):
        return "UTF-32 (byte order mark at offset 0)", convert.replace("UTF-16", "UTF-32")
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "UTF-16 (byte order mark at offset 0)", convert
    if b"\x00" not in head:
        return "", ""
    offset = head.index(b"\x00")
    if head[offset % 2 :: 2].count(0) > len(head) // 5:
        return f"UTF-16 without a byte order mark (NUL byte at offset {offset})", convert
    return f"a binary file (NUL byte at offset {offset})", "rows are text: JSONL, JSON, CSV, Parquet or plain text"


def suffix_of(name: str) -> str:
    """A file's kind by its name: `.jsonl`, `.csv.gz`; lower case, empty if it has none."""
    parts = name.lower().rsplit(".", 2)
    return f".{parts[-2]}.gz" if len(parts) == 3 and parts[-1] == "gz" else f".{parts[-1]}" if len(parts) > 1 else ""


def _open(path: Path, name: str) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise DataError(f"cannot be opened: {error.strerror}", place=name, hint="check its permissions") from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
