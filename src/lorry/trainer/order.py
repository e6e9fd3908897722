"""Which rows each step trains on: a pure function of sizes, seed and step, so that any step can be computed again."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from lorry.data.examples import ExampleSet
from lorry.data.packing import pack
from lorry.errors import RecipeError
from lorry.plugins import make
from lorry.recipe.schema import Recipe, TrainSettings

if TYPE_CHECKING:
    from lorry.trainer.methods._base import Method

_STEPS = 4096
"""Steps that are looked at together, so that a long run's order is never in memory at once."""


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
    short: int = 0
    """Units by which steps that are made already fell short of full ones; those after them take up where they ended."""
    passes: int = 1
    """Steps that take the same units before the next ones come."""
    most: int | None = None
    """Steps at most, where the last units are not passed as often; None for all passes."""

    @property
    def steps(self) -> int:
        """Optimizer steps of the run."""
        steps = math.ceil((self.total_units + self.short) / self.per_step) * self.passes
        return steps if self.most is None else min(steps, self.most)

    def begins(self, step: int) -> int:
        """The first step that takes the units of this one."""
        return step - (step - 1) % self.passes

    def micro_batches(self, step: int) -> list[list[int]]:
        """Rows of each micro-batch of a step (from 1).

        Within the step units are sorted by length, so that a micro-batch holds rows of like length; the loss is that of
        the whole step, so this changes nothing but speed and memory.
        """
        first = (step - 1) // self.passes * self.per_step - self.short
        taken = [self._unit(at) for at in range(first, self._end(step))]
        taken.sort(key=lambda unit: int(self.lengths[self.units[unit]].sum()))
        parts = [taken[at : at + self.micro_batch] for at in range(0, len(taken), self.micro_batch)]
        return [[row for unit in part for row in self.units[unit]] for part in parts]

    def short_after(self, step: int) -> int:
        """Units by which the steps up to this one fall short of full ones."""
        return self._full(step) - self._end(step)

    def tokens_after(self, step: int) -> int:
        """Tokens of the rows of all steps after this one."""
        tokens, many = self._tokens_of_units(), self.per_step * _STEPS
        spans = (
            (first, min(first + many, self.total_units)) for first in range(self._end(step), self.total_units, many)
        )
        later = sum(int(tokens[self._sequence(first, end)].sum()) for first, end in spans)
        if self.passes == 1:
            return later
        last, steps = self.begins(self.steps), self.steps
        again = min(self.begins(step) + self.passes - 1, steps) - step if step else 0
        spared = self.passes - (steps - last + 1) if step < last else 0
        found = self.passes * later - (spared * sum(self.tokens_of(last)) if spared else 0)
        return found + (again * sum(self.tokens_of(step)) if again else 0)

    def tokens_of(self, step: int) -> list[int]:
        """Tokens of each row that a step takes."""
        return [int(self.lengths[row]) for part in self.micro_batches(step) for row in part]

    def heaviest(self) -> tuple[int, int]:
        """The step, and within it the micro-batch, with the most tokens of a whole run that is not yet begun."""
        lengths = self._tokens_of_units()
        starts = np.arange(0, self.per_step, self.micro_batch)
        most, place = -1, (1, 0)
        for first in range(0, self.total_units - self.total_units % self.per_step, self.per_step * _STEPS):
            end = min(first + self.per_step * _STEPS, self.total_units - self.total_units % self.per_step)
            taken = np.sort(lengths[self._sequence(first, end)].reshape(-1, self.per_step), axis=1)
            tokens = np.add.reduceat(taken, starts, axis=1)
            if tokens.max() > most:
                step, part = np.unravel_index(int(tokens.argmax()), tokens.shape)
                most = int(tokens.max())
                place = (first // self.per_step + int(step)) * self.passes + 1, int(part)
        rest = [int(self.lengths[rows].sum()) for rows in self.micro_batches(self.steps)]
        return (self.steps, int(np.argmax(rest))) if rest and max(rest) > most else place

    def _tokens_of_units(self) -> NDArray[np.int64]:
        bounds = np.cumsum([0, *(len(unit) for unit in self.units[:-1])])
        return np.add.reduceat(self.lengths[np.fromiter(chain.from_iterable(self.units), dtype=np.int64)], bounds)

    def _end(self, step: int) -> int:
        return min(self._full(step) - self.short, self.total_units)

    def _full(self, step: int) -> int:
        """Units up to this step, if all steps are full ones."""
        return ((step - 1) // self.passes + 1) * self.per_step

    def _sequence(self, first: int, end: int) -> NDArray[np.int64]:
        """The units that are taken at the places from `first` to before `end`."""
        count = len(self.units)
        epochs = range(first // count, (end - 1) // count + 1)
        parts = [
            _shuffled(count, self.seed, epoch)[max(first - epoch * count, 0) : end - epoch * count] for epoch in epochs
        ]
        return np.concatenate(parts)

    def _unit(self, at: int) -> int:
        epoch, place = divmod(at, len(self.units))
        return int(_shuffled(len(self.units), self.seed, epoch)[place])


def order_of(examples: ExampleSet, recipe: Recipe) -> Order:
    """The order in which a recipe trains on rows: what belongs together stays so, packed or not.

    Raises RecipeError where a step's answers are no whole groups of answers to one prompt.
    """
    method = cast("Method", make("methods", recipe.method))
    lengths, units = examples.lengths, examples.units
    if method.rolls_out:
        return _of_rollouts(lengths, recipe.train, method)
    if recipe.data.packing:
        # The longest row has to fit, and where a row gives several examples, all of them.
        capacity = recipe.data.max_length * max(map(len, units), default=1)
        packed = pack(examples.unit_lengths, capacity, seed=recipe.train.seed)
        units = [[row for unit in group for row in units[unit]] for group in packed]
    return plan_order(lengths, recipe.train, units)


def _of_rollouts(lengths: NDArray[np.int64], train: TrainSettings, method: Method) -> Order:
    """The prompts that are answered for each round of steps, whose answers are what micro-batches count."""
    answers = train.micro_batch * train.accumulation
    if answers % method.group:
        told = f"{train.micro_batch} x {train.accumulation} answers are no whole groups of {method.group}"
        hint = "set train.micro_batch x train.accumulation to a multiple of the method's group_size"
        raise RecipeError(told, place="train.accumulation", hint=hint)
    prompts = answers // method.group
    rounds = math.ceil(train.steps / method.passes) if train.steps else 0
    total = rounds * prompts if rounds else math.ceil(round(len(lengths) * (train.epochs or 1), 6))
    units = [[row] for row in range(len(lengths))]
    return Order(units, lengths, prompts, prompts, total, train.seed, passes=method.passes, most=train.steps)


def plan_order(lengths: NDArray[np.int64], train: TrainSettings, bins: list[list[int]] | None = None) -> Order:
    """The order for rows of these lengths; `bins` are what is taken together, where that is not each row by itself."""
    units = bins if bins is not None else [[row] for row in range(len(lengths))]
    per_step = train.micro_batch * train.accumulation
    total = train.steps * per_step if train.steps else math.ceil(round(len(units) * (train.epochs or 1), 6))
    return Order(units, lengths, train.micro_batch, per_step, total, train.seed)


_last: dict[tuple[int, int, int], NDArray[np.int64]] = {}


def _shuffled(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    if (count, seed, epoch) not in _last:
        _last.clear()
        _last[count, seed, epoch] = np.random.default_rng([seed, epoch]).permutation(count)
    return _last[count, seed, epoch]
