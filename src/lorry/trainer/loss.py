"""Cross-entropy over trained tokens: the head sees only the positions that predict one, some at a time."""

from __future__ import annotations

import torch
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

from lorry.trainer.forest import Forest
from lorry.trainer.forward import Forward
from lorry.trainer.logits import tokens_at_once


def token_loss(forward: Forward, batch: Forest) -> torch.Tensor:
    """Negative log-likelihood summed over a micro-batch's trained tokens; a scalar in fp32."""
    return token_losses(forward, batch).sum()


def token_losses(forward: Forward, batch: Forest) -> torch.Tensor:
    """Negative log-likelihood of each trained token in nats, `(N,)` in fp32, in the order of `batch.targets`."""
    hidden = forward.hidden(batch)
    sources = torch.from_numpy(batch.sources).to(hidden.device)
    targets = torch.from_numpy(batch.targets).to(hidden.device)
    picked = hidden.index_select(0, sources)
    step = tokens_at_once(forward.vocabulary)
    if len(targets) <= step:
        return _losses(forward, picked, targets)
    pieces = zip(picked.split(step), targets.split(step), strict=True)
    return torch.cat([checkpoint(_losses, forward, *piece, use_reentrant=False) for piece in pieces])  # pyright: ignore


def _losses(forward: Forward, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return cross_entropy(forward.head(hidden).float(), targets, reduction="none")
