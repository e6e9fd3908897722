"""The state beside an output: what its rows were made of, and what the files hold: by it the next conversion knows what is new.

The first line is a JSON object, every other one a source: 16 hexadecimal digits for its key, 16 for what it says. Nothing of
what anybody wrote stands there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorry.data.converters._base import Source, digest

_VERSION = 1


def place_of(output: Path) -> Path:
    """Where the state of an output lies."""
    return output.with_name(f"{output.name}.state")


class Sources:
    """What rows were made of: about 100 bytes for each."""

    def __init__(self) -> None:
        self._states: dict[int, int | frozenset[int]] = {}
        """By key, in hashes; several where an id stands for several texts."""

    def add(self, source: Source) -> None:
        """Adds one."""
        self.put(_number(source.key), _number(source.state))

    def put(self, key: int, state: int) -> None:
        """The same in hashes."""
        held = self._states.get(key)
        self._states[key] = state if held is None or held == state else _all(held) | {state}

    def holds(self, source: Source) -> bool:
        """Whether it is among them, as it is now."""
        return _number(source.state) in _all(self._states.get(_number(source.key)))

    def changes_from(self, before: Sources) -> dict[str, int]:
        """How many are new, edited and gone since then."""
        counts = {"new": 0, "edited": 0, "gone": 0}
        for key, state in self._states.items():
            held = before._states.get(key)
            if held is None:
                counts["new"] += 1
            elif held != state and _all(state) - _all(held):
                counts["edited"] += 1
        counts["gone"] = sum(key not in self._states for key in before._states)
        return counts

    def lines(self) -> Iterator[str]:
        """As they are written."""
        for key, held in self._states.items():
            yield from (f"{key:016x} {state:016x}\n" for state in sorted(_all(held)))


class InPlaceOf:
    """Which rows a row stands for: those that repeat it, by what they were made of. It is known already if one of them is."""

    def __init__(self) -> None:
        self._sources: dict[int, list[tuple[Source, ...]]] = {}

    def add(self, kept: int, sources: tuple[Source, ...]) -> None:
        """One that the row of this number stands for."""
        self._sources.setdefault(kept, []).append(sources)

    def take_over(self, kept: int, left_out: int, sources: tuple[Source, ...]) -> None:
        """Another row, made of these sources, and those that it stood for."""
        for one in (sources, *self._sources.pop(left_out, ())):
            self.add(kept, one)

    def __getitem__(self, kept: int) -> Sequence[tuple[Source, ...]]:
        return self._sources.get(kept, ())


def _all(held: int | frozenset[int] | None) -> frozenset[int]:
    return held if isinstance(held, frozenset) else frozenset(() if held is None else (held,))


def _number(text: str) -> int:
    return int(digest(text), 16)


@dataclass(frozen=True)
class State:
    """What an earlier conversion left."""

    files: Mapping[str, str]
    """SHA-256 of each file that it wrote, by name."""
    pending: Mapping[str, str]
    """The same of files that a later conversion was about to put into place: one that was killed may have left some."""
    settings: Mapping[str, Any]
    sources: Sources

    def written(self, place: Path) -> Path:
        """Writes it, in the caller's own scratch folder; the file."""
        head = {"lorry": _VERSION, "files": self.files, "pending": self.pending, "settings": self.settings}
        with place.open("w", encoding="utf-8") as out:
            out.write(json.dumps(head, default=str) + "\n")
            out.writelines(self.sources.lines())
        return place

    @classmethod
    def read(cls, place: Path) -> State | None:
        """What lies there; None for nothing, or for what is no state."""
        try:
            with place.open(encoding="utf-8") as lines:
                head: dict[str, Any] = json.loads(next(lines))
                if head["lorry"] != _VERSION:
                    return None
                sources = Sources()
                for line in lines:
                    key, state = line.split()
                    sources.put(int(key, 16), int(state, 16))
            return cls(head["files"], head["pending"], head["settings"], sources)
        except (OSError, ValueError, KeyError, TypeError, StopIteration):
            return None
