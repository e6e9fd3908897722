"""What a converter has to say: whether a raw row is of its kind, and which rows to train on it gives."""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from lorry.data.converting.room import Room
from lorry.data.readers.blob import RawRow
from lorry.plugins import Plugin


@dataclass(frozen=True, slots=True)
class Source:
    """A part of the input that can be new, edited or gone by itself: an entry, a row, a question."""

    key: str
    """Its own id, or a hash where it has none."""
    state: str
    """A hash of all it says; another one after an edit."""


@dataclass(frozen=True, slots=True)
class Made:
    """A row to train on."""

    row: dict[str, Any]
    """As it is written: `messages`, and what else is worth keeping."""
    asks: str
    answers: str
    """What tells it from others: the question without what many questions share, and the answer."""
    sources: tuple[Source, ...]
    """What it was made of."""
    group: str
    """Rows of one group stay on one side of a split."""
    apart: str = ""
    """What else makes two rows different that ask and answer the same: such rows repeat nothing of each other."""
    about: str = ""
    """What the question is about, where rows on both sides of a split are compared by it too: a passage."""


class Converter(Plugin):
    """Makes rows to train on. Reads its input once, in order, and holds no more of it than it must."""

    compares_rows: ClassVar[bool] = True
    """Whether rows that nearly repeat each other are looked for when all are made; else it compares its sources by itself."""

    @abstractmethod
    def matches(self, raw: dict[str, Any]) -> bool:
        """Whether a raw row has this kind's fields; says nothing about what stands in them."""

    @abstractmethod
    def convert(self, rows: Iterator[RawRow], room: Room) -> Iterator[Made]:
        """The rows to train on; what cannot be used is added to `room.bad`, what is not wanted is counted there."""


def source_of(raw: dict[str, Any], key: Any = None) -> Source:
    """What a raw row is known by: its `id`, or what it says."""
    state = digest(json.dumps(raw, ensure_ascii=False, sort_keys=True, default=str))
    own = raw.get("id") if key is None else key
    return Source(str(own) if isinstance(own, str | int) and not isinstance(own, bool) and own != "" else state, state)


def digest(*parts: str) -> str:
    """A hash of texts, 16 hexadecimal digits."""
    return hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
