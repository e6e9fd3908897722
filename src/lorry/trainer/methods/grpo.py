"""Group relative policy optimisation: answers are better or worse than others to the same prompt; no value model is needed.

Shao et al. 2024 (arXiv:2402.03300), eq. 3; the loss is a mean over all tokens of the step, and both sides of the clip range may
differ, as in DAPO, Yu et al. 2025 (arXiv:2503.14476), eq. 8. The divergence from the reference is estimated as Schulman's
"Approximating KL divergence" (2020) has it (k3), times the ratio to what tokens were drawn with: so its gradient is unbiased,
DeepSeek-V3.2 (arXiv:2512.02556), section 3.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from lorry.trainer.methods._base import Share, Whole
from lorry.trainer.methods._rollouts import Answered, Credit, FromRollouts

if TYPE_CHECKING:
    from lorry.trainer.forest import Forest
    from lorry.trainer.policy import Policy


class GroupRelativePolicyOptimisation(FromRollouts):
    """Learns from its own answers: in groups, better ones against worse."""

    group_size: int = Field(default=8, ge=2)
    """Answers to each prompt. A step's answers (micro_batch x accumulation) are whole groups."""
    epochs: int = Field(default=1, ge=1)
    """Steps that are trained on each rollout."""
    clip_range: float = Field(default=0.2, gt=0)
    """How far a token's probability may move from that which it was drawn with before it counts no more."""
    clip_range_high: float | None = Field(default=None, gt=0)
    """The same upwards, where that is to be more (DAPO: 0.28)."""
    beta: float = Field(default=0.0, ge=0)
    """How dear it is to move away from the model that training began with; 0 asks no reference."""
    scale_rewards: bool = True
    """Divides a group's advantages by their deviation; without, hard and easy prompts weigh as they are (Dr. GRPO)."""
    mask_truncated: bool = False
    """Answers that were cut off at `max_new_tokens` are not learnt from."""

    @property
    def group(self) -> int:
        """The recipe's own."""
        return self.group_size

    @property
    def passes(self) -> int:
        """One a pass."""
        return self.epochs

    @property
    def needs_reference(self) -> bool:
        """Where it costs to move away from it."""
        return self.beta > 0

    def credit(self, answered: Answered, carried: Mapping[str, float]) -> Credit:
        """Every token of an answer gets its answer's advantage."""
        from lorry.trainer.rollouts.advantages import within_groups

        del carried
        advantages = within_groups(answered.rewards, answered.groups, scaled=self.scale_rewards)
        known = [
            {"advantage": np.full(tokens, advantage, np.float32)}
            for tokens, advantage in zip(answered.lengths, advantages.tolist(), strict=True)
        ]
        for index, one in enumerate(known):
            if self.mask_truncated:
                one["counted"] = np.full(answered.lengths[index], answered.ended[index], np.float32)
            if answered.before:
                one["before"] = answered.before[index].astype(np.float32)
            if answered.reference:
                one["reference"] = answered.reference[index].astype(np.float32)
        groups = np.asarray(answered.groups)
        alike = [not np.ptp(answered.rewards[groups == group]) for group in set(answered.groups)]
        return Credit(known, {"groups_alike": float(np.mean(alike))})

    def counts(self, batch: Forest) -> Whole:
        """Tokens of answers that are learnt from, and answers."""
        counted = batch.known.get("counted")
        tokens = batch.trained_tokens if counted is None else float(counted.sum())
        return {"tokens": tokens, "rows": len(batch.kinds)}

    def loss(self, policy: Policy, batch: Forest, whole: Whole) -> Share:
        """The mean over the tokens of the step's answers."""
        import torch

        log_probs = policy.log_probs(batch)
        known = {name: torch.from_numpy(value).to(log_probs.device) for name, value in batch.known.items()}
        advantage, counted = known["advantage"], known.get("counted", torch.ones_like(log_probs))
        ratio = torch.exp(log_probs - known.get("before", log_probs.detach()))
        low, high = 1 - self.clip_range, 1 + (self.clip_range_high or self.clip_range)
        losses = -torch.minimum(ratio * advantage, ratio.clamp(low, high) * advantage)
        clipped = ((ratio < low) & (advantage < 0)) | ((ratio > high) & (advantage > 0))
        tokens = max(whole["tokens"], 1.0)
        told = {"clipped": float((clipped * counted).sum()) / tokens}
        if "reference" in known:
            apart = known["reference"] - log_probs
            divergence = ratio * (torch.exp(apart) - apart - 1)
            losses = losses + self.beta * divergence
            told["kl"] = float((divergence.detach() * counted).sum()) / tokens
        return Share((losses * counted).sum() / tokens, told)
