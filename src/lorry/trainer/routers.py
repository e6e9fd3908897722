"""How evenly a mixture's routers use its experts over an optimizer step, and the loss that evens it.

The loss is that of Switch Transformer (arXiv 2101.03961, equations 4 to 6) as Transformers computes it, over all layers
together: `experts * sum_i f_i P_i`, `f_i` how often a token is sent to expert `i`, `P_i` the probability that routers give it,
both averaged over the tokens of every layer. A mean over micro-batches of their own products would be another loss: `f` and `P`
are those of the whole step, of which the share of a micro-batch is

    experts * sum_i f_i * (sum of probabilities of i in the micro-batch) / (tokens of the step, in all layers)

`f` has no gradient, but every micro-batch's share needs it, so it is counted beforehand: from the same forward pass where a
step is one micro-batch, else in a pass without gradients over all of them, with the same random draws. Nothing cheaper is
exact: an expert's `f` is known when the last micro-batch is computed, and by then the first one's graph is gone.

A beginning that rows share counts once for each of them, as if it were computed for each; padding never counts.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch

from lorry.trainer.forest import Forest
from lorry.trainer.mixtures import can_balance, coefficient


@dataclass(frozen=True)
class Load:
    """How often each expert was chosen."""

    chosen: torch.Tensor  # (layers, experts) fp32: tokens that were sent there
    tokens: float
    """Tokens of one layer."""

    @property
    def rows(self) -> float:
        """Tokens of all layers."""
        return self.tokens * len(self.chosen)

    @property
    def frequency(self) -> torch.Tensor:
        """How often a token is sent to each expert, over all layers, `(experts,)`; they add up to the experts of a token."""
        return self.chosen.sum(0) / max(self.rows, 1.0)

    @property
    def max_share(self) -> float:
        """The largest share of a layer's choices that one expert takes: 1 / experts where all are used alike."""
        return float((self.chosen / self.chosen.sum(1, keepdim=True).clamp_min(1.0)).max())


@dataclass
class Routers:
    """What a model's routers said in the forward passes that are watched."""

    active: int
    """Experts that each token is sent to."""
    coefficient: float
    """Weight of the loss that evens their load; 0 for none."""
    _said: list[tuple[torch.Tensor, torch.Tensor]] | None = field(default=None, init=False)
    _with_gradients: bool = field(default=True, init=False)

    @property
    def are_watched(self) -> bool:
        """Whether the forward pass that begins is one whose routers are asked."""
        return self._said is not None and torch.is_grad_enabled() is self._with_gradients

    def told(self, logits: tuple[torch.Tensor, ...], uses: torch.Tensor) -> None:
        """Takes routers' logits, one `(tokens, experts)` a layer; `uses`, `(tokens,)`, how many rows each token stands for."""
        if self._said is not None:
            self._said += [(one.reshape(len(uses), -1), uses) for one in logits]

    @contextmanager
    def watched(self, *, with_gradients: bool = True) -> Generator[Seen]:
        """Watches the passes within that have gradients, or those that have none; what they said is whole at the end.

        Activations that are computed twice are computed again outside, so no token counts twice.
        """
        seen = Seen(self.active)
        self._said, self._with_gradients = [], with_gradients
        try:
            yield seen
            seen.said = self._said
        finally:
            self._said = None


@dataclass
class Seen:
    """What the routers said of one micro-batch."""

    active: int
    said: list[tuple[torch.Tensor, torch.Tensor]] = field(default_factory=list[tuple[torch.Tensor, torch.Tensor]])

    @torch.no_grad()
    def load(self) -> Load:
        """How often each expert was chosen: as Transformers counts it, by the probabilities."""
        chosen = torch.stack([_chosen(logits, uses, self.active) for logits, uses in self.said])
        return Load(chosen, float(self.said[0][1].sum()))

    def given(self) -> torch.Tensor:
        """The probability that routers gave each expert, summed over tokens and layers, `(experts,)` in fp32 with its graph."""
        return torch.stack([uses @ torch.softmax(logits.float(), dim=-1) for logits, uses in self.said]).sum(0)


class Balance:
    """The balance of one optimizer step, as its micro-batches tell it; nothing for models without such routers."""

    def __init__(self, routers: Routers | None, load: Load | None = None) -> None:
        self._routers = routers
        self._load = load
        self._loads: list[Load] = []
        self._given: list[torch.Tensor] = []

    def watched(self) -> AbstractContextManager[Seen | None]:
        """Watches the passes with gradients of one micro-batch."""
        return nullcontext() if self._routers is None else self._routers.watched()

    def added(self, seen: Seen | None) -> torch.Tensor | None:
        """What the micro-batch adds to the loss that is trained on; None for nothing."""
        if self._routers is None or seen is None or not seen.said:
            return None
        own, given = seen.load(), seen.given()
        self._loads.append(own)
        self._given.append(given.detach())
        return self._routers.coefficient * loss(given, self._load or own) if self._routers.coefficient else None

    def told(self) -> dict[str, float]:
        """The step's loss, not weighted, and the largest share of a layer's choices that one expert took."""
        if not self._loads:
            return {}
        load = together(self._loads)
        given = torch.stack(self._given).sum(0)
        return {"router_aux_loss": float(loss(given, load)), "router_max_share": load.max_share}


def loss(given: torch.Tensor, load: Load) -> torch.Tensor:
    """The loss of a step, or a micro-batch's share in it: a scalar in fp32, with a graph through the probabilities alone.

    `given`, `(experts,)`, is what routers gave each expert in the micro-batch, `load` that of the whole step.
    """
    return len(given) * (load.frequency * given).sum() / max(load.rows, 1.0)


def together(loads: Sequence[Load]) -> Load:
    """That of several micro-batches."""
    return Load(torch.stack([load.chosen for load in loads]).sum(0), sum(load.tokens for load in loads))


def uses_of(forest: Forest, device: torch.device) -> torch.Tensor:
    """How many rows each computed token stands for, `(T,)` in fp32."""
    return torch.from_numpy(forest.uses).to(device, torch.float32)


def routers_of(base: torch.nn.Module, wanted: float | None) -> Routers | None:
    """A mixture's routers, `wanted` the recipe's weight of their loss; None for models that have no such loss."""
    config: Any = base.config.get_text_config()  # pyright: ignore
    settings = config.to_dict()
    return Routers(config.num_experts_per_tok, coefficient(wanted, settings)) if can_balance(settings) else None


def _chosen(logits: torch.Tensor, uses: torch.Tensor, active: int) -> torch.Tensor:
    places = torch.softmax(logits.float(), dim=-1).topk(active, dim=-1).indices
    counts = torch.zeros(logits.shape[-1], dtype=torch.float32, device=logits.device)
    return counts.scatter_add_(0, places.reshape(-1), uses.repeat_interleave(active))
