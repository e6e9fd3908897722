"""Proximal policy optimisation: every token is credited by how much better it went than a value head expected.

Schulman et al. 2017 (arXiv:1707.06347), eq. 7; rewards are lessened by how far a token's probability has moved from the
reference's, and that price is controlled, as in Ziegler et al. 2019 (arXiv:1909.08593), section 2.2; advantages by GAE.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from lorry.trainer.methods._base import Share, Whole
from lorry.trainer.methods._rollouts import Answered, Credit, Floats, FromRollouts

if TYPE_CHECKING:
    import torch

    from lorry.trainer.forest import Forest
    from lorry.trainer.policy import Policy

_MOST = 0.2
"""How far off a rollout's divergence counts at most, as a share of the target."""


_LEAST = 0.5
"""What the price becomes at least from one rollout to the next, as a share of what it was."""


class ProximalPolicyOptimisation(FromRollouts):
    """Learns from its own answers by rewards, held to the model that it began with (RLHF)."""

    has_value_head: ClassVar[bool] = True
    epochs: int = Field(default=4, ge=1)
    """Steps that are trained on each rollout."""
    clip_range: float = Field(default=0.2, gt=0)
    """How far a token's probability may move from that which it was drawn with before it counts no more."""
    value_clip: float = Field(default=0.2, gt=0)
    """How far the value head may move from what it said in the rollout before it counts no more."""
    value_weight: float = Field(default=0.1, ge=0)
    """Weight of the value head's loss."""
    gamma: float = Field(default=1.0, gt=0, le=1)
    """What a reward one token later is worth."""
    gae_lambda: float = Field(default=0.95, ge=0, le=1)
    """GAE: 1 trusts rewards alone (much noise), 0 the value head alone (much bias)."""
    kl_weight: float = Field(default=0.05, ge=0)
    """Reward that a nat of divergence from the reference costs, to begin with."""
    target_kl: float | None = Field(default=None, gt=0)
    """Nats an answer that the price is controlled to hold; null keeps the price as it is."""
    kl_horizon: int = Field(default=10_000, ge=1)
    """Answers over which the price follows the target."""

    @property
    def needs_reference(self) -> bool:
        """Always: it is held to it."""
        return True

    @property
    def passes(self) -> int:
        """One an epoch."""
        return self.epochs

    @property
    def keeps_before(self) -> bool:
        """Always: the price of moving is told by them, too."""
        return True

    def credit(self, answered: Answered, carried: Mapping[str, float]) -> Credit:
        """Advantages and returns of each token; the next price of divergence is carried."""
        from lorry.trainer.rollouts.advantages import generalised, whitened

        price = carried.get("kl_weight", self.kl_weight)
        moved = [now - then for now, then in zip(answered.before, answered.reference, strict=True)]
        found = [
            generalised(_brought(price * apart, reward), values, self.gamma, self.gae_lambda)
            for apart, reward, values in zip(moved, answered.rewards.tolist(), answered.values, strict=True)
        ]
        known = [
            {"before": before, "value": values, "advantage": advantage, "return": returned}
            for before, values, advantage, (_, returned) in zip(
                answered.before, answered.values, whitened([one for one, _ in found]), found, strict=True
            )
        ]
        kl = float(np.mean([one.sum() for one in moved]))
        return Credit(
            known=[{name: value.astype(np.float32) for name, value in one.items()} for one in known],
            told={"kl": kl, "kl_weight": price},
            carried={"kl_weight": self._next_price(price, kl, len(moved))},
        )

    def _next_price(self, price: float, kl: float, answers: int) -> float:
        if self.target_kl is None:
            return price
        off = float(np.clip(kl / self.target_kl - 1, -_MOST, _MOST))
        return price * max(1 + off * answers / self.kl_horizon, _LEAST)  # a price below 0 would pay for divergence

    def loss(self, policy: Policy, batch: Forest, whole: Whole) -> Share:
        """The mean over the tokens of the step's answers, of the clipped objective and of the value head's error."""
        import torch

        log_probs, values = policy.log_probs_and_values(batch)
        known = {name: torch.from_numpy(value).to(log_probs.device) for name, value in batch.known.items()}
        ratio = torch.exp(log_probs - known["before"])
        low, high = 1 - self.clip_range, 1 + self.clip_range
        advantage = known["advantage"]
        losses = -torch.minimum(ratio * advantage, ratio.clamp(low, high) * advantage)
        errors = self._value_errors(values, known["value"], known["return"])
        tokens = max(whole["tokens"], 1.0)
        clipped = (ratio < low) | (ratio > high)
        told = {
            "policy_loss": float(losses.detach().sum()) / tokens,
            "value_loss": float(errors.detach().sum()) / tokens,
            "clipped": float(clipped.sum()) / tokens,
        }
        return Share((losses + self.value_weight * errors).sum() / tokens, told)

    def _value_errors(self, values: torch.Tensor, before: torch.Tensor, returns: torch.Tensor) -> torch.Tensor:
        import torch

        near = before + (values - before).clamp(-self.value_clip, self.value_clip)
        return 0.5 * torch.maximum((values - returns) ** 2, (near - returns) ** 2)


def _brought(costs: Floats, reward: float) -> Floats:
    """What each token brought: it costs to move away from the reference, and the last one earns the reward."""
    brought = -costs
    if len(brought):
        brought[-1] += reward
    return brought
