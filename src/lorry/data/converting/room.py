"""What a converter works with: the draws of its seed, the sides of a split, and where it counts what it leaves out."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from lorry.data.alike.repeats import LIKENESS, Told, near_repeats
from lorry.data.bad_rows import BadRows

Side = Literal["train", "test"]
_COMPARED = 20_000
"""Pairs of nearly equal rows that are compared letter by letter where they are only counted."""


class Room:
    """One conversion: what was asked of it, and what there is to tell."""

    def __init__(
        self, folder: Path, base: Path, *, seed: int = 0, test: float = 0, drop_near: float | None = None
    ) -> None:
        self.folder = folder
        """For files that are needed no longer than the conversion takes."""
        self.base = base
        """Where relative paths in a converter's settings start."""
        self.bad = BadRows()
        self.left_out: Counter[str] = Counter()
        """Why parts of the input gave no rows, and how many."""
        self.near_duplicates = 0
        self.notes: list[str] = []
        self.warnings: list[str] = []
        self.read = 0
        """Raw rows that were read, bad ones included."""
        self._seed, self._test, self._drop_near = seed, test, drop_near

    def draw(self, *names: str) -> float:
        """A number from 0 up to 1 that depends on the seed and these names alone, never on other rows or their order."""
        text = "\0".join([str(self._seed), *names]).encode("utf-8", "surrogatepass")
        return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") / 2**64

    def pick(self, options: Sequence[str], *names: str) -> str:
        """One of several texts, drawn by these names."""
        return options[int(self.draw(*names) * len(options))]

    def side(self, group: str) -> Side:
        """On which side of the split a group stands: always the same one, whatever else there is."""
        return "test" if self.draw("side", group) < self._test else "train"

    def repeats(self, told: Told) -> tuple[dict[int, int], bool]:
        """Rows that nearly repeat an earlier one, each with that one, and whether they are to be left out. Counts them."""
        drop = self._drop_near is not None
        found = near_repeats(told, self._drop_near or LIKENESS, None if drop else _COMPARED)
        self.near_duplicates += len(found)
        return found, drop
