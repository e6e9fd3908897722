"""Direct preference optimisation: the model learns which of two answers people preferred.

Rafailov et al. 2023 (arXiv:2305.18290), eq. 7; IPO: Azar et al. 2023 (arXiv:2310.12036), eq. 17, with the log-ratios
divided by their answers' tokens, as its authors do; hinge: SLiC-HF, Zhao et al. 2023 (arXiv:2305.10425); label smoothing:
Mitchell 2023, "A note on DPO with noisy preferences".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from lorry.trainer.methods import _pairs
from lorry.trainer.methods._base import Share, Whole
from lorry.trainer.methods._held import HeldToReference
from lorry.trainer.methods._pairs import FromPairs

if TYPE_CHECKING:
    import torch

    from lorry.trainer.forest import Forest
    from lorry.trainer.policy import Policy


class DirectPreferenceOptimisation(HeldToReference, FromPairs):
    """Learns from preference pairs, held to the model that it began with."""

    reads_images: ClassVar[bool] = True
    can_vanish: ClassVar[bool] = True
    beta: float = Field(default=0.1, gt=0)
    """How dear it is to move away from the reference; IPO's tau."""
    loss_type: Literal["sigmoid", "ipo", "hinge"] = "sigmoid"
    """`sigmoid`: DPO's own; `ipo`: a squared distance, for preferences that are almost certain; `hinge`: a margin of 1."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """Share of the pairs that is taken to be labelled the wrong way round; with `sigmoid` only."""

    @model_validator(mode="after")
    def _smoothing_is_read(self) -> DirectPreferenceOptimisation:
        if self.label_smoothing and self.loss_type != "sigmoid":
            raise ValueError(f"label_smoothing is no part of `{self.loss_type}`: leave it out, or take `sigmoid`")
        return self

    def loss(self, policy: Policy, batch: Forest, whole: Whole) -> Share:
        """The mean over the step's pairs; tells rewards (beta times the log-ratio to the reference) and their accuracy."""
        from lorry.trainer.policy import row_sums

        # The reference first: nothing of the graph is in memory yet.
        reference = row_sums(policy.reference_log_probs(batch), batch)
        gains = row_sums(policy.log_probs(batch), batch) - reference
        chosen, rejected = _pairs.sides(batch, gains.device)
        losses = self._losses(gains, chosen, rejected, batch)
        rewards = self.beta * gains.detach()
        told = _pairs.told(rewards[chosen], rewards[rejected], whole["pairs"])
        return Share(losses.sum() / whole["pairs"], told)

    def _losses(self, gains: torch.Tensor, chosen: torch.Tensor, rejected: torch.Tensor, batch: Forest) -> torch.Tensor:
        """The loss of each pair, `(pairs,)`; `gains` are the log-ratios to the reference by row."""
        import torch
        from torch.nn.functional import logsigmoid

        if self.loss_type == "ipo":
            means = gains / torch.from_numpy(_pairs.answer_tokens(batch)).to(gains.device)
            return (means[chosen] - means[rejected] - 1 / (2 * self.beta)) ** 2
        margin = self.beta * (gains[chosen] - gains[rejected])
        if self.loss_type == "hinge":
            return torch.relu(1 - margin)
        return -(1 - self.label_smoothing) * logsigmoid(margin) - self.label_smoothing * logsigmoid(-margin)
