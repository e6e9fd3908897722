"""Which rows are held back, and which are drawn: pure, decided by seeds, blind to how rows were written."""

from __future__ import annotations

import hashlib
import json

import numpy as np
from numpy.typing import NDArray

from lorry.data.rows import Row


def prompt_key(row: Row) -> int:
    """A number that rows with the same prompt share; for raw text, rows with the same text. 64 bits."""
    if row.messages is None:
        content = row.text or ""
    else:
        turns = row.messages[: row.asked or -1]
        asked = [[turn["role"], turn["content"].strip(), turn.get("tool_calls")] for turn in turns]
        pictures = [[one.sha256.hex() for one in row.pictures]] if row.pictures else []
        content = json.dumps([asked, row.tools, *pictures], ensure_ascii=False, default=str)
    digest = hashlib.blake2b(content.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def wanted(size: float, rows: int) -> int:
    """How many of the rows a share (below 1) or a number means; at least one of two, and never all."""
    if size == 0 or rows < 2:
        return 0
    number = round(size * rows) if size < 1 else int(size)
    return min(max(number, 1), rows - 1)


def held_back(keys: NDArray[np.uint64], number: int, seed: int) -> NDArray[np.bool_]:
    """Marks at most `number` rows so that rows with the same key fall on one side, `(n,)`.

    Whole groups of equal keys are taken in an order drawn with the seed, as long as they fit. Marks none when every
    group is larger, or is all there is.
    """
    chosen = np.zeros(len(keys), dtype=np.bool_)
    if not number:
        return chosen
    _, group, sizes = np.unique(keys, return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(sizes))
    taken = np.zeros(len(sizes), dtype=np.bool_)
    left = number
    for index in order.tolist():
        if sizes[index] <= left:
            taken[index] = True
            left -= int(sizes[index])
            if not left:
                break
    return taken[group]


def drawn(rows: int, number: int, seed: int) -> NDArray[np.int64]:
    """Indices of `number` of the rows, drawn with the seed, in their order."""
    picked = np.random.default_rng(seed).permutation(rows)[:number]
    return np.sort(picked).astype(np.int64)
