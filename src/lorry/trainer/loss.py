"""Cross-entropy over trained tokens: the head sees only the positions that predict one, some at a time.

A frozen head's gradient is taken while its logits are there (but in fp16). A token's loss depends on its own hidden state
alone, so what the backward pass brings is one factor a token, and logits need neither be kept for it nor made again.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable
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
    return losses_at(forward, predicting(forward, batch), batch)


def predicting(forward: Forward, batch: Forest) -> torch.Tensor:
    """The hidden states that predict a trained token, `(N, hidden size)`."""
    hidden = forward.hidden(batch)
    return hidden.index_select(0, torch.from_numpy(batch.sources).to(hidden.device))


def losses_at(forward: Forward, picked: torch.Tensor, batch: Forest) -> torch.Tensor:
    """As `token_losses`, from the hidden states that predict them."""
    targets = torch.from_numpy(batch.targets).to(picked.device)
    # In fp16 a gradient must be scaled before it is rounded, and the scale comes with the backward pass.
    is_made_twice = _is_trained(forward, picked) or picked.dtype is torch.float16
    step = tokens_at_once(forward.vocabulary, on_gpu=picked.device.type != "cpu", is_made_twice=is_made_twice)
    if picked.requires_grad and not is_made_twice:
        return _ThroughFrozenHead.apply(picked, targets, forward, step)  # pyright: ignore
    if len(targets) <= step:
        return _losses(forward, picked, targets)
    pieces = zip(picked.split(step), targets.split(step), strict=True)
    return torch.cat([checkpoint(_losses, forward, *piece, use_reentrant=False) for piece in pieces])  # pyright: ignore


def _is_trained(forward: Forward, hidden: torch.Tensor) -> bool:
    """Whether gradients of the head itself are asked for: seen on the logits of no token at all."""
    return forward.head(hidden.detach()[:0]).requires_grad


def _losses(forward: Forward, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return cross_entropy(forward.head(hidden).float(), targets, reduction="none")


class _ThroughFrozenHead(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, targets: torch.Tensor, forward: Forward, step: int) -> torch.Tensor:
        gradient = torch.empty_like(hidden)
        losses = hidden.new_empty(len(targets), dtype=torch.float32)
        for first in range(0, len(targets), step):
            place = slice(first, first + step)
            losses[place], gradient[place] = _losses_and_gradient(forward, hidden[place], targets[place])
        ctx.save_for_backward(gradient)
        return losses

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # type: ignore[override]
        (gradient,) = ctx.saved_tensors
        # Multiplied in fp32: in 16 bits one step's 1 / tokens alone would be off by up to 0.4 %.
        scaled = torch.mul(gradient, grad[:, None], out=torch.empty_like(gradient))
        return scaled, None, None, None


def _losses_and_gradient(
    forward: Forward, hidden: torch.Tensor, targets: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Some tokens' losses, and the gradient of each in its own hidden state: what cross-entropy does, in fewer blocks."""
    with torch.enable_grad():
        hidden = hidden.detach().requires_grad_()
        logits = forward.head(hidden)
    wanted = targets[:, None]
    change = torch.log_softmax(logits.detach().float(), dim=1)
    losses = -change.gather(1, wanted)[:, 0]
    change.exp_().scatter_add_(1, wanted, change.new_full(wanted.shape, -1.0))
    (gradient,) = torch.autograd.grad(logits, hidden, change.to(logits.dtype))
    return losses, gradient
