"""Supervised fine-tuning: the model learns to give the answers in the rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from lorry.data.examples import Example
from lorry.data.rows import Row
from lorry.errors import DataError
from lorry.trainer.methods._base import Method, Share, Whole

if TYPE_CHECKING:
    from lorry.data.render import Renderer
    from lorry.trainer.forest import Forest
    from lorry.trainer.policy import Policy


class SupervisedFineTuning(Method):
    """Learns the answers of conversations."""

    accepts: ClassVar[frozenset[str]] = frozenset({"messages"})
    reads_images: ClassVar[bool] = True
    train_on: Literal["assistant", "last", "all"] = "assistant"
    """`assistant`: the answers and their end tokens count in the loss; `last`: the last answer alone; `all`: every token."""

    def examples_of(self, rows: Sequence[Row], renderer: Renderer) -> Iterator[list[Example] | DataError]:
        """One example for each conversation."""
        for result in renderer.chats(rows, self.train_on):
            yield result if isinstance(result, DataError) else [result]

    def loss(self, policy: Policy, batch: Forest, whole: Whole) -> Share:
        """Negative log-likelihood, over the step's trained tokens."""
        from lorry.trainer.loss import token_loss

        return Share(token_loss(policy.forward, batch) / whole["tokens"])
