"""Simple preference optimisation: the mean log-probability of an answer is its reward, with a margin, without a reference.

Meng, Xia and Chen 2024 (arXiv:2405.14734), eq. 6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from lorry.trainer.methods import _pairs
from lorry.trainer.methods._base import Share, Whole
from lorry.trainer.methods._pairs import FromPairs

if TYPE_CHECKING:
    from lorry.trainer.forest import Forest
    from lorry.trainer.policy import Policy


class SimplePreferenceOptimisation(FromPairs):
    """Learns from preference pairs without a reference: the chosen answer likelier per token, by a margin."""

    reads_images: ClassVar[bool] = True
    can_vanish: ClassVar[bool] = True
    beta: float = Field(default=2.0, gt=0)
    """Scale of the mean log-probabilities."""
    margin: float = Field(default=1.0, ge=0)
    """By how much the chosen answer's reward is to be higher; the paper's gamma."""

    def loss(self, policy: Policy, batch: Forest, whole: Whole) -> Share:
        """The mean over the step's pairs."""
        from torch.nn.functional import logsigmoid

        rewards = self.beta * _pairs.mean_log_probs(policy.log_probs(batch), batch)
        chosen, rejected = _pairs.sides(batch, rewards.device)
        losses = -logsigmoid(rewards[chosen] - rewards[rejected] - self.margin)
        told = _pairs.told(rewards.detach()[chosen], rewards.detach()[rejected], whole["pairs"])
        return Share(losses.sum() / whole["pairs"], told)
