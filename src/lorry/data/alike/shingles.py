"""Shingles: the pieces of five letters that a text is made of, as numbers, and how alike two texts are by them.

Upper and lower case are no difference, nor are blanks but for those that a line is indented by. A piece that holds a digit, in
whatever script, counts four times: rows that differ in a date, a size or a number of steps ask for something else, though they
share nearly all their letters.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]

WIDTH = 5
"""Letters in a shingle."""
LONGEST = 200_000
"""Letters that are looked at; what stands behind them in a longer text makes no difference."""
_DIGIT_WEIGHT = 4
_BEHIND = "\0" * (WIDTH - 1)
"""Stands behind every text, so that the shortest has a shingle, and so that none reaches into the next text."""
_RADIX = np.uint64(0x9E3779B97F4A7C15)
_SALT = 0xD1B54A32D192ED03


def shingles(texts: Sequence[str]) -> tuple[Hashes, NDArray[np.int64]]:
    """The shingles of all texts, 64 bits each, and for each of them the index of its text; both `(shingles,)`.

    A text has at least one. Repeated ones are given as often as they stand there.
    """
    written = [plain(text) or "\0" for text in texts]
    lengths = np.array([len(text) for text in written], dtype=np.int64)
    joined = _BEHIND.join([*written, ""])
    codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    count = len(codes) - WIDTH + 1
    hashes = np.zeros(count, dtype=np.uint64)
    has_digit = np.zeros(count, dtype=np.bool_)
    is_digit = _are_digits(codes, joined)
    for place in range(WIDTH):
        hashes *= _RADIX
        hashes += codes[place : place + count]
        has_digit |= is_digit[place : place + count]
    owners = np.repeat(np.arange(len(written)), lengths + len(_BEHIND))[:count]
    starts = np.cumsum(lengths + len(_BEHIND)) - lengths - len(_BEHIND)
    own = np.arange(count) - starts[owners] < np.maximum(lengths - len(_BEHIND), 1)[owners]
    hashes, owners, has_digit = hashes[own], owners[own], has_digit[own]
    salts = [np.uint64(_SALT * time % 2**64) for time in range(1, _DIGIT_WEIGHT)]
    more = [hashes[has_digit] + salt for salt in salts]
    return mixed(np.concatenate([hashes, *more])), np.concatenate([owners, *[owners[has_digit]] * len(more)])


def _are_digits(codes: NDArray[np.uint32], text: str) -> NDArray[np.bool_]:
    found = (codes >= 48) & (codes <= 57)
    others = [] if text.isascii() else [ord(letter) for letter in set(text) if letter > "9" and letter.isnumeric()]
    return found | np.isin(codes, others) if others else found


def mixed(values: Hashes) -> Hashes:
    """The same number of other numbers, in which every bit depends on all (the last steps of splitmix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def plain(text: str) -> str:
    """A text without what makes no difference; how lines are indented makes one, for in code it does."""
    text = unicodedata.normalize("NFKC", text[:LONGEST]).strip().casefold()
    lines = [line for line in text.splitlines() if line.strip()]
    return "".join(_before(line) + " ".join(line.split()) for line in lines).lstrip()


def _before(line: str) -> str:
    """What stands for the end of the line before, and for how this one is indented."""
    indented = line[: len(line) - len(line.lstrip())]
    return f"\n{indented}" if indented else " "


def likeness(first: str, second: str) -> float:
    """The share of two texts' shingles that both have (Jaccard), from 0 for nothing in common to 1 for the same.

    Where both have lines in common, it is what is left without them that counts, if that is less alike: two questions about
    one long passage are two questions.
    """
    whole = _shared(first, second)
    ours, theirs = _lines(first), _lines(second)
    common = ours.keys() & theirs.keys()
    left = ["\n".join(line for key, line in lines.items() if key not in common) for lines in (ours, theirs)]
    if not common or not all(left):
        return whole
    return min(whole, _shared(*left))


def _lines(text: str) -> dict[str, str]:
    lines = (line.rstrip() for line in text.strip().splitlines())
    return {_before(line) + plain(line): line for line in lines if line}


def _shared(first: str, second: str) -> float:
    if first == second:
        return 1.0
    hashes, owners = shingles([first, second])
    ours, theirs = np.unique(hashes[owners == 0]), np.unique(hashes[owners == 1])
    both = len(np.intersect1d(ours, theirs, assume_unique=True))
    return both / (len(ours) + len(theirs) - both)
