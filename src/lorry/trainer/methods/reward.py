"""Reward modelling: the model learns to give the answer that people preferred the higher reward.

Bradley and Terry 1952, as Ouyang et al. 2022 (arXiv:2203.02155), eq. 1, use it for language models; rewards held around zero:
Eisenstein et al. 2023 (arXiv:2312.09244), eq. 2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from lorry.trainer.methods import _pairs
from lorry.trainer.methods._base import Head, Share, Whole
from lorry.trainer.methods._pairs import FromPairs

if TYPE_CHECKING:
    from lorry.trainer.forest import Forest
    from lorry.trainer.policy import Policy


class RewardModelling(FromPairs):
    """Learns a reward model from preference pairs: one number for a whole conversation, read at its last token."""

    head: ClassVar[Head] = "score"
    can_vanish: ClassVar[bool] = True
    center: float = Field(default=0.0, ge=0)
    """Weight of a term that holds the two rewards of each pair around zero; 0.01 is usual."""

    def loss(self, policy: Policy, batch: Forest, whole: Whole) -> Share:
        """The mean over the step's pairs."""
        from torch.nn.functional import logsigmoid

        rewards = policy.rewards(batch)
        of_chosen, of_rejected = (rewards[side] for side in _pairs.sides(batch, rewards.device))
        losses = self.center * (of_chosen + of_rejected) ** 2 - logsigmoid(of_chosen - of_rejected)
        told = _pairs.told(of_chosen.detach(), of_rejected.detach(), whole["pairs"])
        return Share(losses.sum() / whole["pairs"], told)
