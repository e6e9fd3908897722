"""Drawing answers: each token by one number of the answer's own, so that an answer does not depend on those beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn."""

    temperature: float = 1.0
    top_p: float = 1.0
    """Of the likeliest tokens, as few as have this probability together; 1 for all."""
    top_k: int = 0
    """Only so many of the likeliest tokens; 0 for all."""


@dataclass(frozen=True)
class Draws:
    """What some answers are drawn with."""

    sampling: Sampling
    seeds: Sequence[tuple[int, ...]]
    """One for each answer."""

    def of(self, chosen: Sequence[int]) -> Draws:
        """Those of some of the answers."""
        return replace(self, seeds=[self.seeds[index] for index in chosen])

    def chooser(self, prompt: int, most: int) -> _Chooser:
        """What Transformers asks for each next token, of answers with at most `most` tokens behind `prompt` ones."""
        numbers = np.stack([np.random.default_rng(seed).random(most) for seed in self.seeds])
        return _Chooser(self.sampling, prompt, numbers)


class _Chooser:
    """A logits processor that leaves the drawn token alone: the likeliest of what is left is that."""

    def __init__(self, sampling: Sampling, prompt: int, numbers: NDArray[np.float64]) -> None:
        self._sampling = sampling
        self._prompt = prompt
        self._numbers = numbers
        """`(answers, tokens)`, each from 0 to below 1."""

    def __call__(self, input_ids: Any, scores: torch.Tensor) -> torch.Tensor:
        import torch

        numbers = torch.from_numpy(self._numbers[:, input_ids.shape[1] - self._prompt]).to(scores.device)
        token = choose(scores, numbers, self._sampling)
        return torch.full_like(scores, -torch.inf).scatter_(1, token[:, None], 0.0)


def choose(scores: torch.Tensor, numbers: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """The token of each row, `(rows,)`, of logits `(rows, vocabulary)`, that a number in [0, 1) draws.

    Temperature comes first, then top-k, then top-p, as in Transformers.
    """
    chances = (scores.float() / sampling.temperature).softmax(1)
    tokens = None
    if sampling.top_k or sampling.top_p < 1:
        kept = min(sampling.top_k or chances.shape[1], chances.shape[1])
        chances, tokens = chances.topk(kept, dim=1)
    ladder = chances.double().cumsum(1)
    if sampling.top_p < 1:
        # A token stays while those before it have less than top-p of what top-k has left.
        is_kept = ladder - chances < sampling.top_p * ladder[:, -1:]
        ladder = (chances * is_kept).double().cumsum(1)
    import torch

    place = torch.searchsorted(ladder, numbers[:, None] * ladder[:, -1:], right=True)[:, 0]
    place = place.clamp(max=ladder.shape[1] - 1)  # by rounding the last step may be out of reach
    return place if tokens is None else tokens.gather(1, place[:, None])[:, 0]
