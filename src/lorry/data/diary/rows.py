"""The rows of one entry: the questions that it answers, and its answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from lorry.data.converters._base import Made, digest
from lorry.data.converting.room import Room
from lorry.data.diary.entry import Entry
from lorry.data.diary.questions import Kind
from lorry.data.sentences import pieces, sentences

_START = 200
"""Letters of an entry's beginning, or of a sentence out of it, that a question may quote."""
_REST = 80
"""Letters that must be left to go on with."""
_TAGS = 3
"""Tags that a question names."""
_PIECES = 8
"""Pieces of an entry that are kept; what is longer still is a file that was pasted in."""


@dataclass(frozen=True)
class Asking:
    """How entries are asked."""

    words: Mapping[str, Sequence[str]]
    author: str
    kinds: tuple[Kind, ...]
    longest: int
    room: Room

    def first_rows(self, entry: Entry, counts: Counter[str], number: int) -> list[tuple[str, str, str]]:
        """So many rows of those that an entry can give; what is too long for one answer comes with the first."""
        rows = self.rows(entry, counts)
        more = sum(kind.startswith("part") for kind, _, _ in rows)
        return rows[: number + more] if number else []

    def rows(self, entry: Entry, counts: Counter[str]) -> list[tuple[str, str, str]]:
        """The kind, the question and the answer of every row that an entry can give.

        The first tells of the day, and what does not fit into one answer follows it piece by piece; the others come in an order
        drawn for the entry, so that those that give fewer rows do not all give the same kind.
        """
        parts = pieces(entry.text, self.longest)[:_PIECES]
        first = [("day", self._said("day", entry), parts[0])] if "day" in self.kinds else []
        if "continue" in self.kinds:
            for number, (before, part) in enumerate(pairwise(parts), 2):
                asked = self._said("continue", entry, f"part {number}", start=f"… {sentences(before)[-1][-_START:]}")
                first.append((f"part {number}", asked, part))
        others = [*self._topic(entry, parts[0], counts), *self._going_on(entry, parts[0]), *self._when(entry)]
        others = [row for row in others if row[0] in self.kinds]
        return [*first, *sorted(others, key=lambda row: self.room.draw("order", entry.source.key, row[0]))]

    def made(self, kind: str, asked: str, answer: str, entries: Sequence[Entry], group: str) -> Made:
        """A row as it is written."""
        said = self.words["system"][0].format(author=self.author)
        turns = [{"role": "system", "content": said}] if said else []
        messages = [*turns, {"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
        row: dict[str, Any] = {
            "id": digest(kind, *(one.source.key for one in entries), asked),
            "kind": "continue" if kind.startswith("part") else kind,
        }
        row |= {"entries": [one.source.key for one in entries], "messages": messages}
        return Made(row, asked, answer, tuple(one.source for one in entries), group)

    def mentioned(self, name: str, found: Sequence[tuple[Entry, str]], group: str) -> Made:
        """What is remembered of a person, a place or a thing: sentences out of several entries, each with its day."""
        asked = self.room.pick(self.words["about"], "about", name).format(entity=name)
        put = self.words["mention"][0]
        answer = "\n\n".join(put.format(date=entry.day, excerpt=excerpt) for entry, excerpt in found)
        return self.made("about", asked, answer, [entry for entry, _ in found], group)

    def _said(self, wording: str, entry: Entry, part: str = "", **values: Any) -> str:
        drawn = self.room.pick(self.words[wording], wording, entry.source.key, part)
        return drawn.format(**{"date": entry.day, **values})

    def _topic(self, entry: Entry, text: str, counts: Counter[str]) -> Iterator[tuple[str, str, str]]:
        """The rarest tags first: they say more of the entry."""
        tags = sorted(entry.tags, key=lambda tag: (counts[tag], tag))[:_TAGS]
        if not tags:
            return
        *former, last = tags
        listed = self.words["and"][0].join([", ".join(former), last]) if former else last
        own = [name for name in entry.entities if name.casefold() in text.casefold()]
        if own:
            name = self.room.pick(own, "entity", entry.source.key)
            yield "topic", self._said("topic_with", entry, tags=listed, entity=name), text
        else:
            yield "topic", self._said("topic", entry, tags=listed), text

    def _going_on(self, entry: Entry, text: str) -> Iterator[tuple[str, str, str]]:
        start = next(iter(sentences(text)), "")
        rest = text[len(start) :].strip() if text.startswith(start) else ""
        if start and len(start) <= _START and len(rest) >= _REST:
            yield "continue", self._said("continue", entry, start=start), rest

    def _when(self, entry: Entry) -> Iterator[tuple[str, str, str]]:
        """A sentence that is long enough to be this day's alone."""
        able = [one for one in sentences(entry.text[: 4 * self.longest]) if _REST // 2 <= len(one) <= _START]
        if able:
            excerpt = self.room.pick(able, "excerpt", entry.source.key)
            yield "when", self._said("when", entry, excerpt=excerpt), self._said("when_answer", entry, excerpt=excerpt)
