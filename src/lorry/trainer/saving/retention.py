"""Which checkpoints are kept: a pure function of their steps and of what evaluations gave for them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence


def best_first(scores: Mapping[int, float], *, higher_is_better: bool = False) -> list[int]:
    """Steps by their score, the best first, of equals the earliest; one whose score is no number, or infinite, is none."""
    sign = -1.0 if higher_is_better else 1.0
    return [step for _, step in sorted((sign * score, step) for step, score in scores.items() if math.isfinite(score))]


def kept(saved: Sequence[int], ranked: Sequence[int], *, last: int, best: int) -> set[int]:
    """Steps whose checkpoints stay: the last `last`, the best one, and with `best` above 0 the first and the best `best`.

    `ranked` are the evaluated steps, the best first. Whatever is given, something stays.
    """
    steps = sorted(saved)
    good = [step for step in ranked if step in steps]
    staying = {*steps[-max(1, last) :], *good[: max(1, best)]}
    return staying | set(steps[:1]) if best else staying
