"""What an emulated machine has printed, and what its cloud logged of it: numbered lines, read in the order of time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

Source = Literal["container", "system"]
SOURCES: tuple[Source, ...] = ("container", "system")


@dataclass(frozen=True, order=True)
class Line:
    """One line, with when it was printed (RFC 3339, UTC, microseconds) and its number in its source."""

    ts: str
    seq: int
    source: Source
    text: str

    @property
    def mark(self) -> str:
        """By which a reader goes on: `<time>/<number>`."""
        return f"{self.ts}/{self.seq:012d}"


def stamp(at: float) -> str:
    """A time as lines bear it."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class SystemLog:
    """What the cloud itself logs of a machine."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "system.jsonl"

    def write(self, text: str, at: float) -> None:
        """Adds a line."""
        number = self._file.read_bytes().count(b"\n") + 1 if self._file.exists() else 1
        entry = json.dumps({"ts": stamp(at), "seq": number, "line": text})
        with self._file.open("a", encoding="ascii") as opened:
            opened.write(entry + "\n")


class Reader:
    """Reads a machine's lines as they come, from the sources that are wanted."""

    def __init__(self, folder: Path, sources: tuple[Source, ...] = SOURCES) -> None:
        self._folder, self._sources = folder, sources
        self._places: dict[Source, tuple[int, int]] = {}

    def all(self) -> list[Line]:
        """Every line that is kept, in the order of time; further calls of `new` go on from here."""
        found = [line for source in self._sources for line in self._rotated(source)]
        return sorted([*found, *self.new()])

    def new(self) -> list[Line]:
        """Lines that came since the last call."""
        return sorted(line for source in self._sources for line in self._read_on(source))

    def _rotated(self, source: Source) -> Iterator[Line]:
        older = self._folder / f"{source}.jsonl.1"
        if older.exists():
            yield from _parsed(older.read_bytes(), source)

    def _read_on(self, source: Source) -> Iterator[Line]:
        file = self._folder / f"{source}.jsonl"
        known, offset = self._places.get(source, (0, 0))
        try:
            with file.open("rb") as opened:
                number = file.stat().st_ino
                opened.seek(offset if number == known else 0)
                content, whole, _torn = opened.read().rpartition(b"\n")
                self._places[source] = (number, (offset if number == known else 0) + len(content) + len(whole))
        except OSError:
            return
        yield from _parsed(content, source)


def _parsed(content: bytes, source: Source) -> Iterator[Line]:
    for line in content.splitlines():
        try:
            entry = json.loads(line)
            yield Line(str(entry["ts"]), int(entry["seq"]), source, str(entry["line"]))
        except (ValueError, KeyError, TypeError):
            continue  # torn by a full disk
