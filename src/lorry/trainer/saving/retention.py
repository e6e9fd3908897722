"""Which checkpoints are kept: a pure function of their steps and evaluation losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def best_step(losses: Mapping[int, float]) -> int | None:
    """The step with the lowest evaluation loss, the earliest of equals; None where there was no evaluation."""
    numbers = {step: loss for step, loss in losses.items() if loss == loss}  # noqa: PLR0124 - NaN is no loss
    return min(numbers, key=lambda step: (numbers[step], step), default=None)


def kept(saved: Sequence[int], losses: Mapping[int, float], *, last: int, best: int) -> set[int]:
    """Steps whose checkpoints stay: the last `last`, the best one, and with `best` above 0 the first and the best `best`.

    `losses` are the evaluation losses by step. Whatever is given, something stays.
    """
    steps = sorted(saved)
    ranked = sorted((losses[step], step) for step in steps if losses.get(step, float("nan")) == losses.get(step))
    staying = {*steps[-max(1, last) :], *(step for _, step in ranked[: max(1, best)])}
    return staying | set(steps[:1]) if best else staying
