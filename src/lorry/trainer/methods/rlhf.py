"""Reinforcement learning from human feedback, as many recipes call PPO."""

from __future__ import annotations

from lorry.trainer.methods.ppo import ProximalPolicyOptimisation


class ReinforcementFromHumanFeedback(ProximalPolicyOptimisation):
    """The same as `ppo`, under the name that recipes for it often use."""
