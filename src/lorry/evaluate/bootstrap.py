"""How sure a score is: percentile bootstrap intervals over rows (Efron 1979), and Wilson's where resamples know too little.

That is where all rows score alike, and for shares that fewer than ten rows keep from 0 or 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

DRAWS = 2000
"""Resamples of the rows."""
Z95 = 1.959963984540054
_FEW = 10
"""Rows on one side of a share below which resamples say too little (Brown, Cai and DasGupta 2001 advise Wilson's for few).

By the binomial distribution, 95 % intervals of 200 rows with a true share from 0.9 to 0.999 cover it in 94.2 % of cases, 86.6 %
for the worst share, with Wilson's where all rows are alike only; where fewer than ten are right or wrong, in 96.3 and 91.8 %.
"""
_AT_ONCE = 4_000_000
"""Drawn row numbers held in memory together (32 MB)."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """A score with the interval that covers it with 95 % confidence; no bounds where one row, or one value, is all there is."""

    value: float
    low: float | None
    high: float | None

    def as_dict(self) -> dict[str, Any]:
        """As it stands in scores.json."""
        return asdict(self)

    def mapped(self, rising: Callable[[float], float]) -> Interval:
        """The interval of a rising function of the score, such as the perplexity of a loss."""
        low = None if self.low is None else rising(self.low)
        return Interval(rising(self.value), low, None if self.high is None else rising(self.high))


def mean(scores: Sequence[float], *, within: tuple[float, float] | None = None, seed: int = 0) -> Interval | None:
    """The mean of scores, one a row; None without rows. `within` are the least and the most that a row can score, if known.

    Where all scores are alike, every resample is the same and the bootstrap would claim certainty: see `alike`.
    """
    values = np.asarray(scores, dtype=np.float64)
    if len(values) > 1 and values.min() == values.max():
        return alike(float(values[0]), len(values), within)
    hits = int((values == 1).sum())
    if len(values) > 1 and ((values == 0) | (values == 1)).all() and min(hits, len(values) - hits) < _FEW:
        return wilson(hits, len(values))
    return ratio(scores, [1] * len(scores), seed=seed)


def alike(value: float, rows: int, within: tuple[float, float] | None) -> Interval:
    """The mean where every row scores `value`: by as much as it moves if so many as may be scored the most, or the least.

    So many is Wilson's upper bound of none of these rows, 3.84 / (rows + 3.84): of 20 rows 16 %. The "rule of three",
    3 / rows, is its one-sided kin (Hanley and Lippman-Hand 1983). For 0 and 1 within 0 and 1 this is Wilson's interval
    itself: 20 right of 20 may be 84 % of all. No bounds where nothing is known of what others may score.
    """
    others = wilson(0, rows)
    if within is None or within[0] == within[1] or others is None or others.high is None or rows == 1:
        return Interval(value, None, None)
    least, most = within
    return Interval(value, value - others.high * (value - least), value + others.high * (most - value))


def ratio(sums: Sequence[float], counts: Sequence[float], *, seed: int = 0) -> Interval | None:
    """The sum of `sums` by the sum of `counts`, such as summed losses by tokens; rows are drawn, not tokens.

    A row without a count adds its sum: what is written where nothing is to be read are errors, too. None without rows or
    where nothing was counted. Rows that are all alike say nothing of how far others lie: no bounds.
    """
    above, below = np.asarray(sums, dtype=np.float64), np.asarray(counts, dtype=np.float64)
    counted = (below > 0) | (above != 0)
    above, below = above[counted], below[counted]
    if not below.sum() > 0:
        return None
    value = float(above.sum() / below.sum())
    if not np.ptp(np.divide(above, below, out=np.full_like(above, np.inf), where=below > 0)):
        return Interval(value, None, None)
    low, high = np.nanquantile(_resampled(above, below, seed), [0.025, 0.975])
    # Rounding may put a bound past a value that all resamples share.
    return Interval(value, min(float(low), value), max(float(high), value))


def wilson(hits: int, rows: int) -> Interval | None:
    """Wilson's 95 % score interval of a share (Wilson 1927); None without rows."""
    if rows == 0:
        return None
    share, spread = hits / rows, Z95 * Z95 / rows
    middle = (share + spread / 2) / (1 + spread)
    half = Z95 * math.sqrt(share * (1 - share) / rows + spread / (4 * rows)) / (1 + spread)
    return Interval(share, max(0.0, min(middle - half, share)), min(1.0, max(middle + half, share)))


def perplexity(loss: float) -> float:
    """exp(loss) for a loss in natural logarithm per token; the largest number where that would overflow."""
    return math.exp(min(loss, 700.0))


def _resampled(above: Floats, below: Floats, seed: int) -> Floats:
    draw, rows = np.random.default_rng(seed), len(below)
    chunk = max(1, _AT_ONCE // rows)
    parts: list[Floats] = []
    for start in range(0, DRAWS, chunk):
        drawn = draw.integers(0, rows, size=(min(chunk, DRAWS - start), rows))
        summed, counted = above[drawn].sum(axis=1), below[drawn].sum(axis=1)
        # Where a resample holds no row with a count, it says nothing.
        parts.append(np.divide(summed, counted, out=np.full(len(summed), np.nan), where=counted > 0))
    return np.concatenate(parts)
