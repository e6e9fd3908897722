"""A shelf: values put by on disk, one JSON text a line, each at hand by its number."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any


class Shelf:
    """Values in the order in which they were added; 8 bytes of memory are kept of each."""

    def __init__(self, file: Path) -> None:
        self._file = file.open("w+b")
        self._starts = array("q")
        self._end = 0

    def __len__(self) -> int:
        return len(self._starts)

    def append(self, value: Any) -> None:
        """Puts one value by."""
        line = json.dumps(value, ensure_ascii=False).encode() + b"\n"
        self._file.seek(self._end)
        self._file.write(line)
        self._starts.append(self._end)
        self._end += len(line)

    def __getitem__(self, index: int) -> Any:
        self._file.seek(self._starts[index])
        return json.loads(self._file.readline())

    def lines(self) -> Iterator[bytes]:
        """All values as they are written, each with its newline."""
        self._file.seek(0)
        yield from self._file

    def __enter__(self) -> Shelf:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
