from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lorry.errors import ModelError
from lorry.plan.subject import Subject, UnavailableError
from subjects import machine, recipe, subject


def test_part_is_made_once_for_all_threads(tmp_path: Path):
    made = subject(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        parts = list(pool.map(lambda _: made.prepared, range(8)))
    assert all(part is parts[0] for part in parts)


def test_missing_part_says_why_to_each_who_asks(tmp_path: Path):
    made = Subject(recipe(model={"id": "./nowhere"}), tmp_path)
    for _ in range(2):
        with pytest.raises(UnavailableError, match="the model cannot be had") as caught:
            _ = made.prepared
        assert (caught.value.part, type(caught.value.cause)) == ("source", ModelError)


def test_part_that_is_given_is_not_made(tmp_path: Path):
    given = machine()
    assert Subject(recipe(), tmp_path, hardware=given).hardware is given


def test_method_is_the_recipes(tmp_path: Path):
    assert Subject(recipe(method={"name": "cpt"}), tmp_path).method.accepts == {"text"}
