"""What a method has to say: how rows become examples, and how a batch becomes a loss."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar

from lorry.data.examples import Example
from lorry.data.rows import Row
from lorry.errors import DataError
from lorry.plugins import Plugin

if TYPE_CHECKING:
    import torch

    from lorry.data.render import Renderer
    from lorry.trainer.forest import Forest
    from lorry.trainer.forward import Forward


class Method(Plugin):
    """A way to learn from rows. Importing a method's file must not import torch."""

    accepts: ClassVar[frozenset[str]]
    """Kinds of rows: `messages`, `text`."""

    @abstractmethod
    def examples(self, row: Row, renderer: Renderer) -> Iterator[Example]:
        """The examples that one row gives: one, several (a long document), or none."""

    def examples_of(self, rows: Sequence[Row], renderer: Renderer) -> Iterator[list[Example] | DataError]:
        """The examples of each row, in order; in place of a row that cannot be rendered stands the reason.

        Methods override it where many rows at once are quicker than one after another.
        """
        for row in rows:
            try:
                yield list(self.examples(row, renderer))
            except DataError as error:
                yield error

    @abstractmethod
    def loss(self, forward: Forward, batch: Forest) -> torch.Tensor:
        """The loss of one micro-batch, summed (not averaged) over its trained tokens; a scalar in fp32."""
