"""Rows that are nearly repetitions: of each other, and of rows on the other side of a split."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from lorry.data.alike.search import Indices, between, within
from lorry.data.alike.shingles import likeness
from lorry.data.alike.sketch import BINS, Sketches, estimated, sketches

LIKENESS = 0.8
"""How alike rows are that are reported."""
_AT_ONCE = 512
_LETTERS_AT_ONCE = 500_000
_KEPT_TEXTS = 4096

Text = tuple[str, str]
"""What a row asks, and what it answers."""


@dataclass(frozen=True)
class Told:
    """What the rows of a set say: their sketches, and a way to read one of them."""

    prompts: Sketches
    rows: Sketches
    """Prompt and answer together."""
    apart: NDArray[np.uint64]
    """64 bits of what else sets a row apart, 0 for nothing, `(rows,)`: rows that differ in it repeat nothing of each other."""
    text: Callable[[int], Text]

    def of(self, chosen: Indices) -> Told:
        """Some of the rows."""
        read = self.text
        return Told(self.prompts[chosen], self.rows[chosen], self.apart[chosen], lambda index: read(int(chosen[index])))


class Sketcher:
    """Sketches rows as they come; 264 bytes are kept of each."""

    def __init__(self) -> None:
        self._waiting: list[Text] = []
        self._letters = 0
        self._prompts = bytearray()
        self._rows = bytearray()
        self._apart = array("Q")

    def add(self, prompt: str, answer: str, apart: str = "") -> None:
        """One row more; `apart` is what makes it another row than one that asks and answers the same."""
        self._apart.append(_number(apart) if apart else 0)
        self._waiting.append((prompt, answer))
        self._letters += len(prompt) + len(answer)
        if len(self._waiting) >= _AT_ONCE or self._letters >= _LETTERS_AT_ONCE:
            self._flush()

    def told(self, text: Callable[[int], Text]) -> Told:
        """All rows that were added; `text` reads one of them by its number."""
        self._flush()
        apart = np.frombuffer(self._apart, dtype=np.uint64) if self._apart else np.zeros(0, dtype=np.uint64)
        return Told(_array(self._prompts), _array(self._rows), apart, text)

    def _flush(self) -> None:
        if self._waiting:
            prompts, rows = sketches(*zip(*self._waiting, strict=True))
            self._prompts += prompts.tobytes()
            self._rows += rows.tobytes()
            self._waiting.clear()
            self._letters = 0


def _array(held: bytearray) -> Sketches:
    return np.frombuffer(held, dtype=np.uint16).reshape(-1, BINS)


def _number(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def near_repeats(told: Told, threshold: float, most: int | None = None) -> dict[int, int]:
    """For each row that is nearly a repetition, the earlier row that stays in its place.

    A row is one if it is near a row that stays, in what it asks and in what it answers, and nothing else sets the two apart;
    the earliest stays. Up to `most` pairs are read and compared letter by letter; of the rest the sketches decide. A threshold
    of 1 reads all rows: those that are equal letter by letter, white space at the ends aside, are repetitions.
    """
    if threshold >= 1:
        return _equal_repeats(told)
    compare = _Comparer(told, told, threshold, most)
    stays: dict[int, int] = {}
    for later, earlier in _grouped(*within(told.rows, threshold, told.apart)):
        candidates: list[int] = earlier.tolist()
        found = next((root for root in _roots(candidates, stays) if compare.rows(later, root)), -1)
        if found >= 0:
            stays[later] = found
    return stays


def _equal_repeats(told: Told) -> dict[int, int]:
    first: dict[tuple[int, bytes], int] = {}
    stays: dict[int, int] = {}
    for index, apart in enumerate(told.apart.tolist()):
        said = "\0".join(part.strip() for part in told.text(index)).encode("utf-8", "surrogatepass")
        kept = first.setdefault((apart, hashlib.blake2b(said, digest_size=16).digest()), index)
        if kept != index:
            stays[index] = kept
    return stays


def _roots(rows: list[int], stays: dict[int, int]) -> list[int]:
    """The rows that stay in the place of these, each once."""
    return [*dict.fromkeys(stays.get(row, row) for row in rows)]


def near_rows_between(scored: Told, train: Told, threshold: float, most: int | None = None) -> dict[int, int]:
    """For each scored row that is near a training row, in prompt and answer, that row."""
    compare = _Comparer(scored, train, threshold, most)
    return _first_that(compare.rows, _grouped(*reversed(between(scored.rows, train.rows, threshold))))


def near_prompts_between(scored: Told, train: Told, threshold: float, most: int | None = None) -> dict[int, int]:
    """For each scored row whose prompt is near a training row's, that row."""
    compare = _Comparer(scored, train, threshold, most)
    return _first_that(compare.prompts, _grouped(*reversed(between(scored.prompts, train.prompts, threshold))))


def _first_that(
    is_near: Callable[[int, int], bool], candidates: Iterable[tuple[int, NDArray[np.int64]]]
) -> dict[int, int]:
    found = {one: next((other for other in others.tolist() if is_near(one, other)), -1) for one, others in candidates}
    return {one: other for one, other in found.items() if other >= 0}


def _grouped(other: Indices, asked: Indices) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Each row with its candidates; pairs are ordered by it."""
    rows, begins = np.unique(asked, return_index=True)
    yield from zip(rows.tolist(), np.split(other, begins[1:]), strict=False)


class _Comparer:
    """Compares rows of two sets by their texts, and by their sketches once enough texts have been read."""

    def __init__(self, first: Told, second: Told, threshold: float, most: int | None) -> None:
        self._first, self._second, self._threshold = first, second, threshold
        self._left = float("inf") if most is None else most
        self._read = lru_cache(_KEPT_TEXTS)(second.text)

    def rows(self, one: int, other: int) -> bool:
        """Whether prompts and answers are near."""
        if self._spent():
            return _estimate(self._first.rows, one, self._second.rows, other) >= self._threshold
        ours, theirs = self._first.text(one), self._read(other)
        return all(likeness(mine, his) >= self._threshold for mine, his in zip(ours, theirs, strict=True))

    def prompts(self, one: int, other: int) -> bool:
        """Whether prompts are near."""
        if self._spent():
            return _estimate(self._first.prompts, one, self._second.prompts, other) >= self._threshold
        return likeness(self._first.text(one)[0], self._read(other)[0]) >= self._threshold

    def _spent(self) -> bool:
        self._left -= 1
        return self._left < 0


def _estimate(first: Sketches, one: int, second: Sketches, other: int) -> float:
    return float(estimated(first[one : one + 1], second[other : other + 1])[0])
