"""What is remembered of names: sentences that mention them, with their days."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from lorry.data.diary.entry import Entry
from lorry.data.sentences import mentions

_ENTRIES = 3
"""Entries that an answer is made of: the newest."""

Found = tuple[Entry, str]
"""An entry, and its sentences that mention the name."""


class People:
    """Those names that are mentioned most, and where."""

    def __init__(self, counts: Counter[str], number: int, longest: int) -> None:
        ranked = sorted(counts, key=lambda name: (-counts[name], name))
        self._names = frozenset(name for name in ranked[:number] if counts[name] > 0)
        self._longest = longest
        self._found: dict[str, list[tuple[Entry, str, str]]] = {}

    def note(self, entry: Entry, group: str) -> None:
        """Remembers what an entry says of them."""
        for name in entry.entities:
            if name in self._names and (excerpt := mentions(entry.text, name, self._longest)):
                held = self._found.setdefault(name, [])
                held.append((entry, excerpt, group))
                held.sort(key=lambda one: (one[0].at, one[0].source.key))
                del held[:-_ENTRIES]

    def remembered(self) -> Iterator[tuple[str, list[Found], str]]:
        """Each name with what was found, in the order of time, and the group of the first entry."""
        for name, held in sorted(self._found.items()):
            yield name, [(entry, excerpt) for entry, excerpt, _ in held], held[0][2]
