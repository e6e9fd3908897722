"""Continued pre-training: the model learns raw text, document by document."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar

from lorry.data.examples import Example
from lorry.data.rows import Row
from lorry.errors import DataError
from lorry.trainer.methods._base import Method, Share, Whole

if TYPE_CHECKING:
    from lorry.data.render import Renderer
    from lorry.trainer.forest import Forest
    from lorry.trainer.policy import Policy


class ContinuedPreTraining(Method):
    """Learns raw text; documents end with the end token, long ones continue in the next piece."""

    accepts: ClassVar[frozenset[str]] = frozenset({"text"})

    def examples_of(self, rows: Sequence[Row], renderer: Renderer) -> Iterator[list[Example] | DataError]:
        """The pieces of each document."""
        yield from renderer.documents([row.text or "" for row in rows])

    def loss(self, policy: Policy, batch: Forest, whole: Whole) -> Share:
        """Negative log-likelihood, over the step's trained tokens."""
        from lorry.trainer.loss import token_loss

        return Share(token_loss(policy.forward, batch) / whole["tokens"])
