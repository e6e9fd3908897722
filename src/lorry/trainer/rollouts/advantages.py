"""How much better an answer, or one of its tokens, was than could be expected: pure arithmetic.

GRPO: Shao et al. 2024 (arXiv:2402.03300), section 4.1. GAE: Schulman et al. 2015 (arXiv:1506.02438), eq. 16.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_LEAST = 1e-4
"""Added to the deviation that rewards are divided by, as TRL does."""


def within_groups(rewards: Floats, groups: Sequence[int], *, scaled: bool) -> Floats:
    """Each reward less the mean of its group, `(n,)`; `scaled` by the group's deviation. `groups` names each one's group."""
    names, place = np.unique(np.asarray(groups), return_inverse=True)
    found = np.zeros_like(rewards)
    for group in range(len(names)):
        mine = place == group
        if not np.ptp(rewards[mine]):
            continue  # by rounding their mean may be another number than each of them
        apart = rewards[mine] - rewards[mine].mean()
        deviation = rewards[mine].std(ddof=1) if mine.sum() > 1 else 0.0
        found[mine] = apart / (deviation + _LEAST) if scaled else apart
    return found


def generalised(rewards: Floats, values: Floats, gamma: float, lam: float) -> tuple[Floats, Floats]:
    """Advantages and returns of one answer's tokens, `(T,)` each, by GAE; behind the last token nothing is to be had.

    `rewards[t]` is what token `t` brought, `values[t]` what was expected before it was said.
    """
    advantages, ahead, later = np.zeros_like(rewards), 0.0, 0.0
    for at in range(len(rewards) - 1, -1, -1):
        later = rewards[at] + gamma * ahead - values[at] + gamma * lam * later
        advantages[at], ahead = later, values[at]
    return advantages, advantages + values


def whitened(advantages: Sequence[Floats]) -> list[Floats]:
    """All tokens' advantages with mean 0 and variance 1 together; of a single token only the mean is taken off."""
    every = np.concatenate(list(advantages)) if advantages else np.zeros(0)
    if not every.size:
        return list(advantages)
    deviation = float(np.sqrt(every.var() + 1e-8)) if every.size > 1 else 1.0
    return [(one - every.mean()) / deviation for one in advantages]
