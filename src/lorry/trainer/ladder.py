"""The out-of-memory ladder: one pure function from a configuration to the next that needs less memory.

The rows of an optimizer step never change, so what is learned does not either: a smaller micro-batch computes the same
step in more pieces, and activation checkpointing computes the same numbers twice.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from lorry.recipe.schema import Recipe

Where = Literal["training", "evaluating", "generating"]
"""What was being done when memory ran out: a step, the loss of evaluation rows, or answers."""


@dataclass(frozen=True)
class Rung:
    """How much is computed at once."""

    micro_batch: int
    """Rows (packed: sequences) of one forward and backward pass."""
    accumulation: int
    """Micro-batches of an optimizer step."""
    activation_checkpointing: bool
    eval_batch: int
    """Rows of one forward pass in evaluation."""
    generation_batch: int
    """Answers made at once."""

    @classmethod
    def top(cls, recipe: Recipe) -> Rung:
        """Where a recipe begins."""
        train, evaluate = recipe.train, recipe.evaluate
        return cls(
            train.micro_batch,
            train.accumulation,
            train.activation_checkpointing,
            max(train.micro_batch, evaluate.batch_size),
            evaluate.batch_size,
        )

    def as_dict(self) -> dict[str, Any]:
        """For events and checkpoints."""
        return asdict(self)

    def told(self) -> str:
        """The rung in words."""
        kept = ", activations computed twice" if self.activation_checkpointing else ""
        batches = f"{self.eval_batch} evaluated and {self.generation_batch} answered at once"
        return f"micro-batches of {self.micro_batch}, {self.accumulation} a step{kept}; {batches}"


def next_rung(where: Where, rung: Rung, *, can_checkpoint: bool = True) -> Rung | None:
    """The next rung down for what ran out of memory; None on the last one.

    `can_checkpoint` is false for models that cannot compute activations twice.
    """
    if where == "generating":
        half = rung.generation_batch // 2
        return replace(rung, generation_batch=half) if half else None
    if where == "evaluating":
        half = rung.eval_batch // 2
        return replace(rung, eval_batch=half) if half else None
    if rung.micro_batch > 1:
        rows = rung.micro_batch * rung.accumulation
        # A divisor, so that the step keeps exactly its rows, and its micro-batches are all of one size.
        fewer = next(size for size in range((rung.micro_batch + 1) // 2, 0, -1) if rows % size == 0)
        return replace(rung, micro_batch=fewer, accumulation=rows // fewer)
    if can_checkpoint and not rung.activation_checkpointing:
        return replace(rung, activation_checkpointing=True)
    return None
