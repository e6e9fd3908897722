"""What fits: the recipe's micro-batch, what the out-of-memory ladder would make of it, and the largest that would fit; pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from lorry.plan.memory import Memory
from lorry.trainer.ladder import Rung, next_rung

MemoryOf = Callable[[Rung], Memory]


@dataclass(frozen=True)
class Fit:
    """How a run sits on a device."""

    memory: Memory
    """On the rung that fits; on the last one where none does."""
    rung: Rung | None
    """None where not even the last one fits."""
    lowered: int
    """Rungs below the recipe's."""
    largest: int
    """The largest micro-batch that fits with the recipe's rows a step and its way of keeping activations; 0 for none."""


def fit(memory_of: MemoryOf, top: Rung, room: int, *, can_checkpoint: bool = True) -> Fit:
    """Goes down from the recipe's rung until it fits into so many bytes."""
    rung, lowered = top, 0
    found = memory_of(rung)
    while found.peak > room:
        lower = next_rung("training", rung, can_checkpoint=can_checkpoint)
        if lower is None:
            return Fit(found, None, lowered, 0)
        rung, lowered, found = lower, lowered + 1, memory_of(lower)
    return Fit(found, rung, lowered, _largest(memory_of, top, room))


def _largest(memory_of: MemoryOf, top: Rung, room: int) -> int:
    """By halving the range of sizes that divide the rows of a step: more rows never take less memory."""
    rows = top.micro_batch * top.accumulation
    sizes = [size for size in range(1, rows + 1) if rows % size == 0]
    low, high = 0, len(sizes)
    while low < high:
        middle = (low + high) // 2
        tried = replace(top, micro_batch=sizes[middle], accumulation=rows // sizes[middle])
        low, high = (middle + 1, high) if memory_of(tried).peak <= room else (low, middle)
    return sizes[low - 1] if low else 0
