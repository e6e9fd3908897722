"""Rows to score an adapter on: those of its run, or a file that the run has never seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from lorry.data.examples import ExampleSet
from lorry.data.formats._base import Format
from lorry.data.prepare import Prepared, Task, prepare
from lorry.data.tokenizer import Tokenizer
from lorry.errors import DataError, InputError
from lorry.evaluate.folder import read_json
from lorry.evaluate.opening import Found
from lorry.plugins import find
from lorry.recipe.schema import Recipe


@dataclass(frozen=True)
class OtherRows:
    """Rows of a file as the evaluation split, beside the training rows of the run."""

    scored: Prepared
    train: ExampleSet

    @property
    def eval(self) -> ExampleSet | None:
        """All rows of the file."""
        return self.scored.train

    @property
    def test(self) -> ExampleSet | None:
        """None: there are no others."""
        return None

    def tasks(self, split: str) -> Sequence[Task]:
        """The questions and answers of the file."""
        return self.scored.tasks("train") if split == "eval" else []

    def with_columns(self, split: str, tasks: Sequence[Task]) -> list[Task]:
        """The same tasks with what else their rows hold."""
        return self.scored.with_columns("train", tasks) if split == "eval" else []


Rows = Prepared | OtherRows
"""What evaluation reads: training rows, rows to score, tasks."""


def rows_of(found: Found, tokenizer: Tokenizer, data: Path | None) -> Rows:
    """The rows to score: of `data` where given, else the evaluation and test rows of the run.

    Says DataError for rows that cannot be used, InputError where there is neither a run nor a file.
    """
    if data is not None:
        return _other(found, tokenizer, data)
    if found.run is None:
        raise InputError("there are no rows to score this adapter on", hint="give them: `--data FILE`")
    trained_on = _of_run(found)
    return prepare(found.recipe, found.base, tokenizer) if trained_on is None else trained_on


def _other(found: Found, tokenizer: Tokenizer, data: Path) -> OtherRows:
    changes = {
        "train": str(data.expanduser().absolute()),
        "eval": None,
        "test": None,
        "eval_split": 0.0,
        "train_subset": None,
        "format": _layout(found.recipe),
    }
    settings = found.recipe.data.model_copy(update=changes)
    scored = prepare(_with_data(found.recipe, settings), found.base, tokenizer, all_columns=True)
    own = _of_run(found)
    return OtherRows(scored, scored.train if own is None else own.train)


def _layout(recipe: Recipe) -> dict[str, Any]:
    """Whichever format the file has; but the run's own where that is one that is never found, only named."""
    own = recipe.data.format
    named = own["name"] != "auto" and not cast("type[Format]", find("formats", own["name"])).found
    return own if named else {"name": "auto"}


def _with_data(recipe: Recipe, data: object) -> Recipe:
    return recipe.model_copy(update={"data": data})


def _of_run(found: Found) -> Prepared | None:
    """The rows of the run as they were rendered for it; None where they have been cleaned away."""
    folder = read_json(found.run.resolved).get("data_folder") if found.run else None
    if not isinstance(folder, str):
        return None
    try:
        return Prepared.open(Path(folder))
    except DataError:
        return None
