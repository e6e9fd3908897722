"""All good entries of a diary: their texts on disk, and in memory what weighs and compares them."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from sys import intern
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lorry.data.alike.repeats import Sketcher
from lorry.data.alike.shingles import plain
from lorry.data.converters._base import Source, digest
from lorry.data.converting.room import Room
from lorry.data.converting.shelf import Shelf
from lorry.data.diary.days import Day
from lorry.data.diary.entry import Entry
from lorry.data.diary.weights import subject_of


class Notebook:
    """Entries in the order of the files, those left out that repeat an earlier one."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._shelf = Shelf(room.folder / "entries")
        self._sketcher = Sketcher()
        self._at = array("d")
        self._keys: list[str] = []
        self._tags: list[tuple[str, ...]] = []
        self._texts: list[str] = []
        self._stays = np.zeros(0, dtype=np.int64)
        self._group_of: dict[int, int] = {}
        self.tags: Counter[str] = Counter()
        """How many entries have each tag."""
        self.names: Counter[str] = Counter()
        """How many entries mention each name."""

    def __enter__(self) -> Notebook:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._shelf.__exit__(kind, error, trace)

    def add(self, entry: Entry) -> None:
        """Puts one by."""
        self._shelf.append({**asdict(entry), "day": [entry.day.year, entry.day.month, entry.day.day]})
        self._at.append(entry.at)
        self._keys.append(entry.source.key)
        self._tags.append(tuple(map(intern, entry.tags)))
        self._texts.append(digest(plain(entry.text)))
        self._sketcher.add("", entry.text)
        self.tags.update(entry.tags)
        self.names.update(entry.entities)

    def settle(self) -> None:
        """Leaves repetitions out. Of entries that say the same the earliest stays, and of those of one time the first."""
        order = np.argsort(np.array(self._at), kind="stable")
        _, first = np.unique(np.array(self._texts, dtype="U16")[order], return_index=True)
        once = order[np.sort(first)]
        told = self._sketcher.told(lambda index: ("", self._entry(index).text)).of(once)
        near, drop = self._room.repeats(told)
        self._group_of = {int(once[later]): int(once[earlier]) for later, earlier in near.items()}
        stays = np.setdiff1d(once, [*self._group_of]) if drop else np.sort(once)
        self._leave_out(np.setdiff1d(order, once), "repeats another word for word")
        self._leave_out(np.setdiff1d(once, stays), "nearly repeats another")
        self._stays = stays

    def _leave_out(self, entries: NDArray[np.int64], why: str) -> None:
        for index in entries.tolist():
            entry = self._entry(index)
            self.tags.subtract(entry.tags)
            self.names.subtract(entry.entities)
            self._room.left_out[why] += 1

    def __len__(self) -> int:
        return len(self._stays)

    @property
    def at(self) -> NDArray[np.float64]:
        """When each entry that stays was written, `(entries,)`."""
        return np.array(self._at)[self._stays]

    @property
    def keys(self) -> list[str]:
        """What each of them is known by."""
        return [self._keys[index] for index in self._stays.tolist()]

    @property
    def subjects(self) -> list[str]:
        """What each of them is about: its rarest tag."""
        return [subject_of(self._tags[index], self.tags) for index in self._stays.tolist()]

    def entries(self) -> Iterator[tuple[Entry, str]]:
        """Each entry that stays, and its group: those that are near each other have one."""
        for index in self._stays.tolist():
            yield self._entry(index), self._keys[self._group_of.get(index, index)]

    def _entry(self, index: int) -> Entry:
        held: dict[str, Any] = self._shelf[index]
        return Entry(
            source=Source(**held["source"]),
            day=Day(*held["day"]),
            at=held["at"],
            text=held["text"],
            tags=tuple(held["tags"]),
            entities=tuple(held["entities"]),
        )
