"""The diary's shipped rows are what `lorry data convert` makes of the shipped entries."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from lorry.cli.main import run

RECIPES = Path(__file__).parents[2] / "recipes"
ROWS = ("diary_rows.jsonl", "diary_rows.test.jsonl")


def test_the_command_in_the_recipe_makes_the_shipped_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    said = (RECIPES / "diary.yaml").read_text(encoding="utf-8")
    command = re.search(r"lorry (data convert .*)", said)
    assert command
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes" / "data").mkdir(parents=True)
    (tmp_path / "recipes" / "data" / "diary.jsonl").write_bytes((RECIPES / "data" / "diary.jsonl").read_bytes())
    assert run(shlex.split(command[1])) == 0
    for name in ROWS:
        assert (tmp_path / "recipes" / "data" / name).read_bytes() == (RECIPES / "data" / name).read_bytes()
