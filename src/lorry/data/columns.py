"""What rows hold beside what is trained on: kept of rows that are held back, for metrics to look at.

A set has them in `columns.jsonl`, a JSON object a row; training rows have no such file, and only the rows that are answered are
ever read from it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, cast

FILE = "columns.jsonl"
_LEARNT = frozenset(
    {
        *("messages", "conversations", "prompt", "completion", "response", "chosen", "rejected", "text", "tools"),
        *("instruction", "input", "output", "system", "history", "images", "image", "videos", "audios"),
    }
)
"""Fields that formats make the conversation of."""
_BYTES = (bytes, bytearray, memoryview)


def beside(raw: Mapping[str, Any]) -> dict[str, Any]:
    """What else a row holds; raw bytes, such as those of an image, are left out, at whatever depth."""
    return _told({name: value for name, value in raw.items() if name not in _LEARNT})


def _told(value: Any) -> Any:
    """A value without the bytes in it, such as those of `{"bytes": ..., "path": ...}`."""
    if isinstance(value, Mapping):
        items = cast("Mapping[Any, Any]", value).items()
        return {key: _told(one) for key, one in items if not isinstance(one, _BYTES)}
    if isinstance(value, list | tuple):
        return [_told(one) for one in cast("Iterable[Any]", value) if not isinstance(one, _BYTES)]
    return value


class ColumnsWriter:
    """Writes the file of a set; there is none where no row has anything to keep."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._file = self._path.open("w", encoding="ascii")
        self._any = False

    def append(self, columns: Mapping[str, Any] | None) -> None:
        """The next row's."""
        self._any = self._any or bool(columns)
        self._file.write(json.dumps(dict(columns or {}), default=str) + "\n")

    def close(self) -> None:
        """Done; doing it again changes nothing."""
        if not self._file.closed:
            self._file.close()
            if not self._any:
                self._path.unlink()


def copy(source: Path, target: Path, keep: Iterable[bool]) -> None:
    """Some rows' lines, from one set's folder to another's, if there are any."""
    if not (source / FILE).is_file():
        return
    with (source / FILE).open(encoding="ascii") as lines, (target / FILE).open("w", encoding="ascii") as kept:
        kept.writelines(line for line, wanted in zip(lines, keep, strict=False) if wanted)


def read(folder: Path, rows: Collection[int]) -> dict[int, dict[str, Any]]:
    """What some rows of a set hold, by the row's number from 0."""
    if not rows or not (folder / FILE).is_file():
        return {}
    with (folder / FILE).open(encoding="ascii") as lines:
        return {number: json.loads(line) for number, line in enumerate(lines) if number in rows}
