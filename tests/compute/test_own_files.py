"""The person's own files of a rented run: kept when it begins, and found again when it goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

import tiny_runs
from lorry.compute.machine.sending import at_home, with_kept_names
from lorry.recipe.load import from_dict
from lorry.recipe.schema import Recipe
from lorry.track.folder import RunFolder
from model_folders import TEMPLATE


@pytest.fixture
def rented(tmp_path: Path) -> RunFolder:
    """A run whose recipe names a template above its own folder."""
    below = tmp_path / "recipes"
    below.mkdir()
    (tmp_path / "mine.jinja").write_text(TEMPLATE)
    data = {"train": str(tmp_path / "rows.jsonl"), "eval_split": 4, "chat_template": f"{below}/../mine.jinja"}
    return tiny_runs.begin(tiny_runs.recipe(tmp_path, data=data, compute={"on": ["runpod"]})).folder


def recipe_of(folder: RunFolder, **data: str) -> Recipe:
    found = Recipe.model_validate_json(
        folder.resolved.read_text().partition('"recipe": ')[2].rpartition(',\n  "base"')[0]
    )
    return found.model_copy(update={"data": found.data.model_copy(update=data)})


def test_file_of_ones_own_is_kept_and_named_by_where_it_lies(rented: RunFolder):
    kept = recipe_of(rented)
    assert kept.data.chat_template == "chat_template.jinja"
    assert (rented.path / "files" / "chat_template.jinja").read_text() == TEMPLATE
    assert at_home(kept, rented).data.chat_template == str(rented.path / "files" / "chat_template.jinja")


def test_recipe_that_is_given_anew_names_the_kept_file(rented: RunFolder):
    kept = recipe_of(rented)
    anew = recipe_of(rented, chat_template="../mine.jinja")
    assert with_kept_names(anew, kept) == kept
    other = recipe_of(rented, chat_template="another.jinja")
    assert with_kept_names(other, kept) == other


def test_recipe_without_files_of_ones_own_stays_as_it_is(tmp_path: Path):
    plain = from_dict(tiny_runs.recipe(tmp_path), tmp_path).recipe
    assert at_home(plain, RunFolder(tmp_path)) == plain
    assert with_kept_names(plain, plain) == plain
