"""How many rows each entry gives: more for what is recent, fewer for what the diary is full of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float64]

_DAY = 86_400.0


@dataclass(frozen=True)
class Weighing:
    """What makes an entry count."""

    half_life: float | None
    """Days after which an entry counts half; None counts all alike."""
    balance: float
    """0 takes the diary as it is, 1 gives each of its subjects the same weight."""

    def weights(self, at: NDArray[np.float64], subjects: Sequence[str], now: float) -> Weights:
        """From 0 to 1 for each entry, `(entries,)`; `at` in seconds since 1970.

        An entry's weight is 0.5 ** (its age / half-life) * min(1, mean / own) ** balance, where `own` is how many entries its
        subject has and `mean` how many a subject has on average. What lies after `now` is of age 0.
        """
        age = np.maximum(now - at, 0) / _DAY
        recent = np.ones(len(at)) if self.half_life is None else 0.5 ** (age / self.half_life)
        counts = Counter(subjects)
        mean = len(subjects) / max(len(counts), 1)
        own = np.array([counts[subject] for subject in subjects], dtype=np.float64)
        return recent * np.minimum(1, mean / np.maximum(own, 1)) ** self.balance


def subject_of(tags: Sequence[str], counts: Counter[str]) -> str:
    """What an entry is about: the rarest of its tags, for that tells it from the others; empty without tags."""
    return min(tags, key=lambda tag: (counts[tag], tag), default="")


def number_of_rows(weight: float, least: int, most: int, draw: float) -> int:
    """How many rows an entry of this weight gives: `weight` of the most, and of what is left over one by chance.

    The same `draw`, from 0 up to 1, gives fewer rows or as many as the weight falls, never others.
    """
    return min(max(int(weight * most + draw), least), most)


def strongest(weights: Weights, draws: Weights, number: int) -> NDArray[np.bool_]:
    """Marks so many things, drawn without replacement by their weights (Efraimidis and Spirakis, 2006): `(things,)`."""
    if number >= len(weights):
        return np.ones(len(weights), dtype=np.bool_)
    with np.errstate(divide="ignore"):
        keys = np.log(np.maximum(draws, 1e-300)) / np.maximum(weights, 1e-12)
    marked = np.zeros(len(weights), dtype=np.bool_)
    marked[np.argsort(-keys, kind="stable")[:number]] = True
    return marked
