"""The model that is trained, and the one that it is held against: the base, or the adapter that it began with."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from lorry.trainer.forest import Forest
from lorry.trainer.forward import Forward
from lorry.trainer.loss import losses_at, predicting, token_losses
from lorry.trainer.model import LoadedModel
from lorry.trainer.row_rewards import rewards


@dataclass
class Policy:
    """A model in training as methods see it. Log-probabilities are natural, in fp32."""

    loaded: LoadedModel
    begun: list[torch.Tensor] = field(default_factory=list[torch.Tensor])
    """The trained weights as the reference has them, where that is not the base with its adapter off."""
    changing: AbstractContextManager[Any] = field(default_factory=nullcontext[None])
    """Held while other weights stand in the place of those that are trained: nobody may save them then."""
    temperature: float = 1.0
    """By which logits are divided, for a method that draws answers so."""

    @property
    def forward(self) -> Forward:
        """Runs the model over forests."""
        plain = self.loaded.forward
        if self.temperature == 1:
            return plain
        return replace(plain, head=lambda hidden: plain.head(hidden) / self.temperature)

    def log_probs(self, batch: Forest) -> torch.Tensor:
        """Of each trained token, `(N,)`, with a graph behind it."""
        return -token_losses(self.forward, batch)

    def log_probs_and_values(self, batch: Forest) -> tuple[torch.Tensor, torch.Tensor]:
        """The same, and the reward that the value head expects before each token, `(N,)` in fp32."""
        hidden, head = predicting(self.forward, batch), self.loaded.value_head
        if head is None:
            raise ValueError("the model has no value head")
        with torch.autocast(hidden.device.type, enabled=False):
            values = head(hidden.float())[:, 0]
        return -losses_at(self.forward, hidden, batch), values

    def rewards(self, batch: Forest) -> torch.Tensor:
        """Of each row, `(R,)` in fp32, with a graph behind it; for methods whose head is `score`."""
        return rewards(self.forward, batch)

    def reference_log_probs(self, batch: Forest) -> torch.Tensor:
        """The same from the reference, `(N,)`, without a graph and without dropout; as it is known, where it is."""
        known = batch.known.get("reference")
        if known is not None:
            return torch.from_numpy(known).to(self.loaded.device)
        with torch.no_grad(), self._as_reference():
            return -token_losses(self.forward, batch)

    @contextmanager
    def _as_reference(self) -> Generator[None]:
        with self.loaded.answering():
            if self.begun:
                with self._as_begun():
                    yield
            else:
                with self.loaded.base_disabled():
                    yield

    @contextmanager
    def _as_begun(self) -> Generator[None]:
        """The weights that training began with in the place of those that it has now."""
        parameters = self.loaded.trained_parameters()
        with self.changing:
            now = [parameter.data for parameter in parameters]
            try:
                _put(parameters, self.begun)
                yield
            finally:
                _put(parameters, now)


def _put(parameters: Sequence[torch.nn.Parameter], tensors: Sequence[torch.Tensor]) -> None:
    for parameter, tensor in zip(parameters, tensors, strict=True):
        parameter.data = tensor
    # It keeps 16-bit copies by parameter, and would go on with those of the weights before.
    torch.clear_autocast_cache()


def policy_of(loaded: LoadedModel, *, has_reference: bool, is_continued: bool) -> Policy:
    """The policy of a model as it was loaded, before anything was trained or put back.

    A copy of the trained weights is kept where the reference is not simply the model without its adapter: when an earlier
    adapter is continued, or when all weights are trained.
    """
    needs_copy = has_reference and (is_continued or not loaded.has_adapter)
    begun = [parameter.detach().clone() for parameter in loaded.trained_parameters()] if needs_copy else []
    return Policy(loaded, begun)


def row_sums(values: torch.Tensor, batch: Forest) -> torch.Tensor:
    """Sums of values of trained tokens by row, `(R,)`; a row without any has 0."""
    rows = torch.from_numpy(batch.rows).to(values.device)
    return values.new_zeros(len(batch.kinds)).index_add(0, rows, values)
