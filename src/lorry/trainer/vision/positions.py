"""Positions in the plane (M-RoPE): time, row and column of each token, as Qwen's vision models count them.

Text counts on in all three at once. An image's tokens have one time, and their own row and column from there; the text behind
goes on after the larger of the two (Wang et al. 2024, arXiv 2409.12191). Tested equal to `get_rope_index` of Transformers 5.23.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lorry.data.images.picture import Placed


def in_the_plane(length: int, images: Sequence[Placed]) -> NDArray[np.int64]:
    """The positions of a row of so many tokens, `(3, length)`."""
    found = np.empty((3, length), dtype=np.int64)
    at, position = 0, 0
    for one in images:
        rows, columns = one.grid
        found[:, at : one.start] = position + np.arange(one.start - at)
        position += one.start - at
        found[0, one.start : one.end] = position
        found[1, one.start : one.end] = position + np.repeat(np.arange(rows), columns)
        found[2, one.start : one.end] = position + np.tile(np.arange(columns), rows)
        position += max(rows, columns)
        at = one.end
    found[:, at:] = position + np.arange(length - at)
    return found
