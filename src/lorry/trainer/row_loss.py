"""The loss of single rows: what evaluation, intervals and the list of worst rows are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from lorry.data.examples import ExampleSet
from lorry.trainer.forest import plant
from lorry.trainer.loss import token_losses
from lorry.trainer.model import LoadedModel


@dataclass(frozen=True)
class RowLoss:
    """One row's negative log-likelihood, summed over its answer's tokens, in nats; over all trained ones of raw text."""

    index: int
    loss_sum: float
    tokens: int


@torch.no_grad()
def row_losses(
    loaded: LoadedModel,
    examples: ExampleSet,
    indices: Sequence[int],
    batch_size: int,
    beat: Callable[[], None] = lambda: None,
) -> list[RowLoss]:
    """The loss of each of these rows, in the order of `indices`; rows of like length are computed together.

    `beat` is called before each batch: a long evaluation is no standstill.
    """
    by_length = sorted(range(len(indices)), key=lambda at: len(examples[indices[at]].ids))
    found: dict[int, RowLoss] = {}
    for first in range(0, len(by_length), batch_size):
        beat()
        places = by_length[first : first + batch_size]
        batch = plant([examples[indices[at]] for at in places], share=loaded.forward.shares)
        with loaded.computing():
            losses = token_losses(loaded.forward, batch).double().cpu()
        answers = torch.from_numpy(~batch.context)
        rows, losses = torch.from_numpy(batch.rows)[answers], losses[answers]
        sums = torch.zeros(len(places), dtype=torch.double).index_add_(0, rows, losses)
        counts = torch.bincount(rows, minlength=len(places))
        for place, total, count in zip(places, sums.tolist(), counts.tolist(), strict=True):
            found[place] = RowLoss(indices[place], total, count)
    return [found[at] for at in range(len(indices))]


def mean_loss(losses: Sequence[RowLoss]) -> float:
    """Nats per trained token over all rows; NaN when nothing is trained."""
    tokens = sum(row.tokens for row in losses)
    return sum(row.loss_sum for row in losses) / tokens if tokens else float("nan")
