"""Odds ratio preference optimisation: learning the chosen answer and keeping away from the other one, without a reference.

Hong, Lee and Thorne 2024 (arXiv:2403.07691), eq. 6 and 7.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from lorry.trainer.methods import _pairs
from lorry.trainer.methods._base import Share, Whole
from lorry.trainer.methods._pairs import FromPairs

if TYPE_CHECKING:
    import torch

    from lorry.trainer.forest import Forest
    from lorry.trainer.policy import Policy


class OddsRatioPreferenceOptimisation(FromPairs):
    """Learns from preference pairs without a reference: the chosen answer's likelihood, and its odds against the other."""

    reads_images: ClassVar[bool] = True
    tells: ClassVar[Mapping[str, bool]] = {**FromPairs.tells, "nll": False}
    beta: float = Field(default=0.1, ge=0)
    """Weight of the odds ratio beside the likelihood; the paper's lambda."""
    learn: Literal["all", "answer"] = "all"
    """Whose likelihood is raised: `all` of the chosen conversation, as the authors do, or the `answer` alone."""

    @property
    def learns_prompts(self) -> bool:
        """Whether the whole chosen conversation is learnt."""
        return self.learn == "all"

    def loss(self, policy: Policy, batch: Forest, whole: Whole) -> Share:
        """The mean likelihood over the step's chosen tokens, and the mean odds ratio over its pairs."""
        import torch
        from torch.nn.functional import logsigmoid

        logs = policy.log_probs(batch)
        learned = -logs[torch.from_numpy(_pairs.is_chosen(batch)).to(logs.device)].sum() / whole["tokens"]
        means = _pairs.mean_log_probs(logs, batch)
        chosen, rejected = _pairs.sides(batch, logs.device)
        odds = _log_odds(means[chosen]) - _log_odds(means[rejected])
        ratio = -logsigmoid(odds).sum() / whole["pairs"]
        rewards = self.beta * means.detach()
        told = _pairs.told(rewards[chosen], rewards[rejected], whole["pairs"])
        return Share(learned + self.beta * ratio, {**told, "nll": float(learned.detach())})


def _log_odds(log_probs: torch.Tensor) -> torch.Tensor:
    """Logarithm of p / (1 - p), from that of p; stable for p near 0 and near 1."""
    import torch

    # A probability of 1 has no odds; the smallest step below it, in fp32, stands in.
    log_probs = log_probs.clamp(max=-1e-7)
    other = torch.where(log_probs > -0.6931, torch.log(-torch.expm1(log_probs)), torch.log1p(-torch.exp(log_probs)))
    return log_probs - other
