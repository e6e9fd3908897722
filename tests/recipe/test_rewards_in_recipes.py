"""What a reward's Python file holds, read without running it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lorry.recipe.rewards import as_reward, functions, neighbours

NOTHING_RUNS = "raise SystemExit\n"


def saved(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(NOTHING_RUNS + text, encoding="utf-8")
    return folder / f"{next(iter(files))}.py"


def test_short_forms_are_written_out():
    assert as_reward("a/b.py:f") == {"name": "python", "file": "a/b.py", "function": "f"}
    assert as_reward("C:\\a.py:f") == {"name": "python", "file": "C:\\a.py", "function": "f"}
    assert as_reward("exact_match") == {"name": "metric", "metric": "exact_match"}
    assert as_reward({"name": "adapter"}) == {"name": "adapter"}


def test_functions_of_a_file_are_known_and_what_may_be_one(tmp_path: Path):
    text = "def f(): ...\nasync def g(): ...\nfrom m import h\nk = f\nif k:\n    def inner(): ...\n"
    text += "class C:\n    def own(self): ..."
    found, may_be_others = functions(saved(tmp_path, mine=text))
    assert found == {"f": True, "g": False, "h": True, "k": True, "inner": True, "C": True}
    assert not may_be_others
    assert functions(saved(tmp_path, mine="from m import *"))[1]


def test_file_with_a_fault_is_told_by_its_line(tmp_path: Path):
    with pytest.raises(SyntaxError) as caught:
        functions(saved(tmp_path, mine="def f(:"))
    assert caught.value.lineno == 2


def test_neighbours_that_are_imported_are_found_however_far(tmp_path: Path):
    file = saved(
        tmp_path,
        mine="import os, scoring\nfrom rules.words import good",
        scoring="import deep.er, mine",
        deep__er="",
        deep__est="",
        rules__words="",
        unused="",
    )
    found = {str(path.relative_to(tmp_path)) for path in neighbours(file)}
    assert found == {"scoring.py", "deep/er.py", "deep/est.py", "rules/words.py"}


def test_file_that_cannot_be_read_has_no_neighbours(tmp_path: Path):
    assert neighbours(tmp_path / "none.py") == []
    assert neighbours(saved(tmp_path, broken="import (")) == []
