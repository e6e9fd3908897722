"""Rows that an adapter has never seen: read in their own format, or in the run's where only its name tells it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lorry.data.prepare import Prepared
from lorry.data.tokenizer import Tokenizer
from lorry.errors import DataError
from lorry.evaluate.any_rows import OtherRows, rows_of
from lorry.evaluate.opening import Found
from lorry.recipe.schema import Recipe
from model_folders import save_model


def rows_for(folder: Path, row: dict[str, Any], method: str = "sft", **data: Any) -> Prepared | OtherRows:
    """The rows of a file of eight equal rows, for an adapter whose recipe has these settings."""
    model = save_model(folder / "model")
    recipe = Recipe.model_validate(
        {"model": {"id": str(model)}, "data": {"train": "gone.jsonl", **data}, "method": method}
    )
    file = folder / "other.jsonl"
    file.write_text((json.dumps(row) + "\n") * 8)
    return rows_of(Found(folder, None, recipe, folder, model), Tokenizer.open(model), file)


def test_other_rows_may_be_laid_out_otherwise_than_the_runs(tmp_path: Path):
    rows = rows_for(tmp_path, {"instruction": "say it", "output": "it"}, format="messages")
    assert rows.eval is not None
    assert len(rows.eval) == len(rows.tasks("eval")) == 8


def test_format_that_is_only_named_is_the_runs_own(tmp_path: Path):
    rows = rows_for(tmp_path, {"page": "some text"}, "cpt", format={"name": "completion", "field": "page"})
    assert rows.eval is not None
    assert len(rows.eval) == 8


def test_rows_of_no_format_are_refused(tmp_path: Path):
    with pytest.raises(DataError, match="has not the fields of `text`, but `page`"):
        rows_for(tmp_path, {"page": "some text"}, "cpt")
