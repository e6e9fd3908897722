"""Packing: rows into sequences of at most so many tokens, as full as can be. Pure: from lengths to lists of indices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

WINDOW = 65_536
"""Rows packed together: enough to fill sequences to within a percent, few enough to keep their order random."""


def pack(
    lengths: Sequence[int] | NDArray[np.int64], capacity: int, *, seed: int = 0, window: int = WINDOW
) -> list[list[int]]:
    """Groups of indices whose lengths sum to at most `capacity`, each index in exactly one; the same for the same seed.

    Rows are shuffled, and within each window packed by best fit, longest first, which needs at most 11/9 of the fewest
    sequences possible plus one (Johnson, 1973) and for mixed lengths hardly more than the fewest. Raises ValueError
    for a length above the capacity.
    """
    sizes = np.asarray(lengths, dtype=np.int64)
    if len(sizes) and int(sizes.max()) > capacity:
        raise ValueError(f"a row of {int(sizes.max())} tokens does not fit into {capacity}")
    # Memory grows with the capacity, and no sequence can hold more than all rows.
    capacity = min(capacity, int(sizes.sum()))
    draw = np.random.default_rng(seed)
    order = draw.permutation(len(sizes))
    groups: list[list[int]] = []
    for start in range(0, len(order), window):
        packed = _best_fit(order[start : start + window], sizes, capacity)
        groups += [packed[index] for index in draw.permutation(len(packed)).tolist()]
    return groups


def fill(groups: Sequence[Sequence[int]], lengths: Sequence[int] | NDArray[np.int64], capacity: int) -> float:
    """How full the sequences are, from 0 to 1."""
    sizes = np.asarray(lengths, dtype=np.int64)
    used = sum(int(sizes[list(group)].sum()) for group in groups)
    return used / (len(groups) * capacity) if groups else 0.0


def _best_fit(indices: NDArray[np.int64], sizes: NDArray[np.int64], capacity: int) -> list[list[int]]:
    longest_first = indices[np.argsort(-sizes[indices], kind="stable")]
    groups: list[list[int]] = []
    by_room: list[list[int]] = [[] for _ in range(capacity + 1)]
    # Bit r says that a group has room for exactly r more tokens: the lowest bit at or above a length is the best fit.
    rooms = 0
    for index, size in zip(longest_first.tolist(), sizes[longest_first].tolist(), strict=True):
        fitting = rooms >> size
        if fitting:
            room = size + (fitting & -fitting).bit_length() - 1
            group = by_room[room].pop()
            if not by_room[room]:
                rooms &= ~(1 << room)
            groups[group].append(index)
        else:
            room, group = capacity, len(groups)
            groups.append([index])
        left = room - size
        by_room[left].append(group)
        rooms |= 1 << left
    return groups
