"""Which rows each step trains on: a pure function of sizes, seed and step, so that any step can be computed again."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lorry.recipe.schema import TrainSettings


@dataclass(frozen=True)
class Order:
    """The order of units (rows, or packed sequences of rows) over the whole run.

    Every epoch is shuffled anew, from the seed and the epoch's number. A step takes the next `per_step` units, also across
    the end of an epoch, so that all steps but the last have the same size.
    """

    units: list[list[int]]
    lengths: NDArray[np.int64]
    micro_batch: int
    per_step: int
    total_units: int
    seed: int

    @property
    def steps(self) -> int:
        """Optimizer steps of the run."""
        return math.ceil(self.total_units / self.per_step)

    def micro_batches(self, step: int) -> list[list[int]]:
        """Rows of each micro-batch of a step (from 1).

        Within the step units are sorted by length, so that a micro-batch holds rows of like length; the loss is that of
        the whole step, so this changes nothing but speed and memory.
        """
        first = (step - 1) * self.per_step
        taken = [self._unit(at) for at in range(first, min(first + self.per_step, self.total_units))]
        taken.sort(key=lambda unit: int(self.lengths[self.units[unit]].sum()))
        parts = [taken[at : at + self.micro_batch] for at in range(0, len(taken), self.micro_batch)]
        return [[row for unit in part for row in self.units[unit]] for part in parts]

    def _unit(self, at: int) -> int:
        epoch, place = divmod(at, len(self.units))
        return int(_shuffled(len(self.units), self.seed, epoch)[place])


def plan_order(lengths: NDArray[np.int64], train: TrainSettings, bins: list[list[int]] | None = None) -> Order:
    """The order for rows of these lengths; `bins` are the packed sequences, when packing is on."""
    units = bins if bins is not None else [[row] for row in range(len(lengths))]
    per_step = train.micro_batch * train.accumulation
    total = train.steps * per_step if train.steps else math.ceil(len(units) * (train.epochs or 1))
    return Order(units, lengths, train.micro_batch, per_step, total, train.seed)


_last: dict[tuple[int, int, int], NDArray[np.int64]] = {}


def _shuffled(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    if (count, seed, epoch) not in _last:
        _last.clear()
        _last[count, seed, epoch] = np.random.default_rng([seed, epoch]).permutation(count)
    return _last[count, seed, epoch]
