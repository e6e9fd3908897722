"""Which rows may be near each other: found by parts of their sketches that are equal, without comparing all with all.

A sketch is cut into 16 bands of four numbers; rows with an equal band are candidates. Of rows that are 0.8 alike 99.9 % have
one, of those that are 0.7 alike 98 %, of those that are 0.6 alike nine in ten.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lorry.data.alike.sketch import Sketches, estimated

Indices = NDArray[np.int64]

SLACK = 0.1
"""By how much an estimate may fall short of what is asked, and the pair still be compared."""
_AT_ONCE = 1 << 16


def within(found: Sketches, threshold: float, apart: NDArray[np.uint64]) -> tuple[Indices, Indices]:
    """Pairs of rows, the earlier and the later one, that may be so alike; ordered by the later, then by the earlier.

    Rows with other numbers in `apart` (64 bits a row, hashes or 0) are never paired.
    In each group of rows with an equal band, rows are paired with the first of the group and with the one before.
    """
    pairs = np.zeros(0, dtype=np.int64)
    if not len(found):
        return pairs, pairs
    for band in _bands(found).T:
        order = np.lexsort((band, apart))
        same = (band[order][1:] == band[order][:-1]) & (apart[order][1:] == apart[order][:-1])
        begins = np.concatenate([[True], ~same])
        firsts = order[np.flatnonzero(begins)[np.cumsum(begins) - 1]]
        later = order[1:][same]
        made = [later * len(found) + earlier for earlier in (firsts[1:][same], order[:-1][same])]
        pairs = np.union1d(pairs, _near(found, found, np.concatenate(made), threshold))
    later, earlier = np.divmod(pairs, max(len(found), 1))
    return earlier, later


def between(scored: Sketches, train: Sketches, threshold: float) -> tuple[Indices, Indices]:
    """Pairs of a scored row and a training row that may be so alike, ordered by the scored one.

    Of the training rows with an equal band, the first and the last are taken.
    """
    pairs = np.zeros(0, dtype=np.int64)
    if not len(train):
        return pairs, pairs
    for band, theirs in zip(_bands(scored).T, _bands(train).T, strict=True):
        order = np.argsort(theirs, kind="stable")
        low, high = (np.searchsorted(theirs[order], band, side) for side in ("left", "right"))
        asked = np.flatnonzero(high > low)
        made = [asked * len(train) + order[place[asked]] for place in (low, high - 1)]
        pairs = np.union1d(pairs, _near(scored, train, np.concatenate(made), threshold))
    ours, other = np.divmod(pairs, len(train))
    return ours, other


def _bands(found: Sketches) -> NDArray[np.uint64]:
    return np.ascontiguousarray(found).view(np.uint64)


def _near(first: Sketches, second: Sketches, pairs: Indices, threshold: float) -> Indices:
    """Those pairs, coded as one number, of which the sketches say that they may be so alike."""
    pairs = np.unique(pairs)
    kept = [pairs[:0]]
    for begin, end in pairwise([*range(0, len(pairs), _AT_ONCE), len(pairs)]):
        part = pairs[begin:end]
        ours, theirs = np.divmod(part, len(second))
        kept.append(part[estimated(first[ours], second[theirs]) >= threshold - SLACK])
    return np.concatenate(kept)
