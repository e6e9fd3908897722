"""Learning rates: one pure function from the step to the rate."""

from __future__ import annotations

import math

from lorry.recipe.schema import TrainSettings


def warmup_steps(warmup: float, total: int) -> int:
    """Steps of warm-up, from a share of all steps (below 1) or a number of them (from 1)."""
    return min(total, math.ceil(warmup * total) if warmup < 1 else int(warmup))


def learning_rate(step: int, total: int, train: TrainSettings) -> float:
    """The rate of optimizer step `step` (from 1) of `total`.

    It rises in a line over the warm-up, and falls (linear, cosine) so that a step after the last would have 0.
    """
    warm = warmup_steps(train.warmup, total)
    if step <= warm:
        return train.learning_rate * step / warm
    done = (step - warm - 1) / max(1, total - warm)
    return (
        train.learning_rate
        * {
            "constant": 1.0,
            "linear": 1.0 - done,
            "cosine": 0.5 * (1.0 + math.cos(math.pi * done)),
        }[train.schedule]
    )
