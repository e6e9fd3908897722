"""The two sides of every comparison, measured the same way: losses of all rows, answers to some."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lorry.data.examples import ExampleSet
from lorry.evaluate.generation import Generated, Limits, generate
from lorry.recipe.schema import Recipe

if TYPE_CHECKING:
    from lorry.data.tokenizer import Tokenizer
    from lorry.trainer.model import LoadedModel
    from lorry.trainer.row_loss import RowLoss

Side = Literal["base", "adapter"]
SIDES: tuple[Side, ...] = ("base", "adapter")
WORDS: dict[Side, str] = {"base": "base model", "adapter": "adapter"}

Progress = Callable[[str, int, int], None]
"""Told which part of the evaluation is done how far: part, done, total."""

_BATCHES_BETWEEN_REPORTS = 8


@dataclass(frozen=True, slots=True)
class Questions:
    """What both sides are asked of one split."""

    split: str
    examples: ExampleSet
    prompts: Sequence[Sequence[int]]
    limits: Limits


@dataclass(frozen=True, slots=True)
class Measured:
    """What one side gave on one split."""

    losses: list[RowLoss]
    """One a row, in the split's order."""
    answers: Generated


@contextmanager
def base_of(loaded: LoadedModel, recipe: Recipe, model_folder: Path | None) -> Generator[LoadedModel]:
    """The model without what was trained: the adapter switched off, or, where all weights were trained, loaded anew."""
    if loaded.has_adapter:
        with loaded.base_disabled():
            yield loaded
        return
    from lorry.errors import InputError
    from lorry.trainer.model import load

    if model_folder is None:
        raise InputError("all weights were trained, and the run does not say where the base model lies")
    plain = recipe.model_copy(update={"model": recipe.model.model_copy(update={"adapter": None})})
    yield load(plain, model_folder, trainable=False)


def measure(
    loaded: LoadedModel, tokenizer: Tokenizer, side: Side, asked: Sequence[Questions], progress: Progress
) -> dict[str, Measured]:
    """Losses and answers of one side, by split."""
    found: dict[str, Measured] = {}
    for questions in asked:
        name = f"{WORDS[side]} on {questions.split} rows"
        with loaded.answering():
            losses = _losses(loaded, questions, lambda done, total: progress(f"loss of the {name}", done, total))  # noqa: B023
        answers = generate(
            loaded,
            tokenizer,
            questions.prompts,
            questions.limits,
            lambda done, total: progress(f"answers of the {name}", done, total),  # noqa: B023
        )
        found[questions.split] = Measured(losses, answers)
    return found


def _losses(loaded: LoadedModel, asked: Questions, progress: Callable[[int, int], None]) -> list[RowLoss]:
    from lorry.trainer.row_loss import row_losses

    lengths = asked.examples.lengths
    # The longest rows first, so that memory runs out at once or never.
    order = sorted(range(len(asked.examples)), key=lambda index: -int(lengths[index]))
    size, found = asked.limits.batch_size * _BATCHES_BETWEEN_REPORTS, list["RowLoss"]()
    for start in range(0, len(order), size):
        found += row_losses(loaded, asked.examples, order[start : start + size], asked.limits.batch_size)
        progress(len(found), len(order))
    return sorted(found, key=lambda row: row.index)
