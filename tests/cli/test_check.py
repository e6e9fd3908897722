"""`lorry check`, as it is typed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from lorry.cli.main import run
from model_folders import save_model
from subjects import ROWS, save_rows

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    save_model(tmp_path / "tiny")
    save_rows(tmp_path / "rows.jsonl", ROWS)
    return written(tmp_path)


def written(folder: Path, **sections: Any) -> str:
    file = folder / "recipe.yaml"
    file.write_text(yaml.safe_dump({"model": {"id": "./tiny"}, "data": {"train": "rows.jsonl"}, **sections}))
    return str(file)


def test_sound_recipe_exits_with_0_and_says_how_to_start(recipe: str, capsys: Capture):
    assert run(["check", recipe]) == 0
    captured = capsys.readouterr()
    assert "LlamaForCausalLM" in captured.out
    assert f"nothing is wrong; start it: `lorry run {recipe}`" in captured.err


def test_wrong_input_exits_with_2_and_shows_place_and_remedy(recipe: str, capsys: Capture):
    assert run(["check", recipe, "-o", "lora.target_modules=[q_prj]", "-o", "budget.usd=3"]) == 2
    captured = capsys.readouterr()
    assert "error   lora.target_modules: the model has no module called `q_prj`  [targets.missing]" in captured.out
    assert "→ did you mean `q_proj`?" in captured.out
    assert "2 errors" in captured.err


def test_refusal_exits_with_3(recipe: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run(["check", recipe, "-o", "model.precision=fp16"]) == 3


def test_every_bad_row_is_shown_with_its_line(recipe: str, tmp_path: Path, capsys: Capture):
    save_rows(tmp_path / "rows.jsonl", [*ROWS, {"messages": []}, {"nothing": 1}])
    assert run(["check", recipe]) == 2
    shown = capsys.readouterr().out
    assert "rows.jsonl:41" in shown
    assert "rows.jsonl:42" in shown


def test_json_holds_every_finding(recipe: str, capsys: Capture):
    assert run(["check", recipe, "--json", "-o", "budget.usd=3"]) == 2
    told = json.loads(capsys.readouterr().out)
    assert told["exit_code"] == 2
    first = told["findings"][0]
    assert (first["code"], first["severity"]) == ("recipe.budget-without-price", "error")
    assert first["place"] == "budget.usd"
    assert first["remedy"]


def test_override_is_warned_of_with_both_values(tmp_path: Path, recipe: str, capsys: Capture):
    written(tmp_path, train={"keep": 2})
    assert run(["check", recipe, "-o", "train.keep=1"]) == 0
    captured = capsys.readouterr()
    assert "train.keep = 1 overrides 2" in captured.out
    assert "1 warning; start it" in captured.err


def test_misspelt_key_is_an_error_before_anything_is_checked(tmp_path: Path, recipe: str, capsys: Capture):
    written(tmp_path, train={"learning_rat": 1})
    assert run(["check", recipe]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "learning_rate" in captured.err


def test_recipe_that_is_not_there_is_an_error(tmp_path: Path, capsys: Capture):
    assert run(["check", str(tmp_path / "none.yaml")]) == 2
    assert capsys.readouterr().err.startswith("error:")


def test_model_that_is_not_there_and_bad_rows_are_told_together(recipe: str, tmp_path: Path, capsys: Capture):
    save_rows(tmp_path / "rows.jsonl", [*ROWS, {"messages": []}])
    assert run(["check", recipe, "-o", "model.id=./absent"]) == 2
    shown = capsys.readouterr().out
    assert "[model.unavailable]" in shown
    assert "[data.bad-row]" in shown


@pytest.mark.parametrize("name", ["blns.json", "json/n_array_comma_and_number.json", "csv/utf8.csv"])
def test_dirty_files_are_refused_without_a_traceback(name: str, recipe: str, shared_data: Path, capsys: Capture):
    file = shared_data / "dirty" / name
    if not file.exists():
        pytest.skip("this file is not in the shared data")
    assert run(["check", recipe, "-o", f"data.train={file}"]) == 2
    captured = capsys.readouterr()
    assert "Traceback" not in captured.out + captured.err
    assert "check.crashed" not in captured.out
