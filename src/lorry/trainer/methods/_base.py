"""What a method has to say: how rows become examples, and how a batch becomes a loss."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

from lorry.data.examples import Example, ExampleSet, Kind
from lorry.data.rows import Row
from lorry.errors import DataError
from lorry.plugins import Plugin

if TYPE_CHECKING:
    import torch

    from lorry.data.render import Renderer
    from lorry.trainer.forest import Forest
    from lorry.trainer.policy import Policy

Head = Literal["language", "score"]
"""What stands on the last hidden state: `language` the output layer, `score` one number for a whole row."""

Whole = Mapping[str, float]
"""What was counted over all micro-batches of an optimizer step, before any of them is trained on."""


class Sums(dict[str, float]):
    """Sums by name."""

    def add(self, more: Whole) -> None:
        """Adds to each sum; one that is not there begins at 0."""
        for name, value in more.items():
            self[name] = self.get(name, 0) + value


@dataclass(frozen=True)
class Share:
    """What one micro-batch adds to its optimizer step."""

    loss: torch.Tensor
    """A scalar in fp32, divided by what the whole step has: the shares of its micro-batches add up to its loss."""
    told: Mapping[str, float] = field(default_factory=dict[str, float])
    """Its shares of further means that are worth a curve."""


class Method(Plugin):
    """A way to learn from rows. Importing a method's file must not import torch."""

    accepts: ClassVar[frozenset[str]]
    """Kinds of rows: `messages`, `text`, `preference`, `labelled`, `prompt`."""
    head: ClassVar[Head] = "language"
    """The head that the model is loaded with."""
    can_vanish: ClassVar[bool] = False
    """Whether its loss may come near 0, so that many times its median is no divergence; then only what is no number is."""
    reads_images: ClassVar[bool] = False
    """Whether it learns from rows with images."""
    rolls_out: ClassVar[bool] = False
    """Whether the model answers its rows by itself while it trains, and learns from that."""
    has_value_head: ClassVar[bool] = False
    """Whether a head beside the model learns what reward can be expected."""
    tells: ClassVar[Mapping[str, bool]] = {}
    """What its evaluations tell beside the loss, with any settings, by name: whether higher is better."""
    watches: ClassVar[str] = "loss"
    """What makes a step the best where the recipe does not say; one of what it `gives`."""
    looks_at: ClassVar[frozenset[Kind]] = frozenset()
    """Examples that are no part of the loss: `look` measures on them, over the whole step, before gradients are computed."""

    def too_long(self, max_length: int) -> tuple[str, str]:
        """Why nothing of a row is left to train on, in words, and what to do about it."""
        return f"no answer to train on lies within max_length {max_length:,}", "raise `data.max_length`"

    @property
    def gives(self) -> Mapping[str, bool]:
        """All that its evaluations give with these settings, by name: whether higher is better. Each may be watched."""
        return {"loss": False, **self.tells}

    @property
    def group(self) -> int:
        """Answers that the model makes to each row; 1 also where rows are trained on as they are."""
        return 1

    @property
    def passes(self) -> int:
        """Steps that are made on the same rows before the next ones come."""
        return 1

    @property
    def needs_reference(self) -> bool:
        """Whether its loss asks what the model said before training."""
        return False

    @property
    def asks_once(self) -> bool:
        """Whether the reference is asked about all rows before training, and not in every step."""
        return False

    @abstractmethod
    def examples_of(self, rows: Sequence[Row], renderer: Renderer) -> Iterator[list[Example] | DataError]:
        """The examples of each row, in order: one, several (a long document, a pair), or none.

        In place of a row that cannot be rendered stands the reason.
        """

    def examples(self, row: Row, renderer: Renderer) -> list[Example]:
        """Those of one row by itself. Raises DataError where it cannot be rendered."""
        (found,) = self.examples_of([row], renderer)
        if isinstance(found, DataError):
            raise found
        return found

    def divided(self, examples: ExampleSet, rows: Sequence[int]) -> tuple[list[int], list[int]]:
        """Which of a micro-batch's rows the loss is of, and which are looked at alone."""
        looked_at = [row for row in rows if int(examples.kinds[row]) in self.looks_at] if self.looks_at else []
        return [row for row in rows if row not in looked_at], looked_at

    def counts(self, batch: Forest) -> Whole:
        """What the loss of a step is divided by, as far as this micro-batch has it."""
        return {"tokens": batch.trained_tokens}

    def look(self, policy: Policy, batch: Forest) -> Whole:
        """Sums over a micro-batch of the examples that are looked at, for the loss of the whole step; without gradients."""
        del policy, batch
        return {}

    @abstractmethod
    def loss(self, policy: Policy, batch: Forest, whole: Whole) -> Share:
        """The share of one micro-batch in the loss of its step, of which `whole` tells the counts."""
