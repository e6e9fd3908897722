from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from lorry import plugins
from lorry.cli.main import run
from lorry.recipe.load import load

MINIMAL = "model: {id: owner/model}\ndata: {train: rows.jsonl}\n"


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    file = tmp_path / "recipe.yaml"
    file.write_text(MINIMAL)
    return str(file)


def test_show_prints_what_was_given(recipe: str, capsys: pytest.CaptureFixture[str]):
    assert run(["recipe", "show", recipe, "-o", "train.steps=5", "-o", "train.keep=1"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown["train"] == {"steps": 5, "keep": 1}
    assert set(shown) == {"model", "data", "train"}


def test_show_resolved_loads_as_the_same_recipe(recipe: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert run(["recipe", "show", recipe, "--resolved", "-o", "train.learning_rate=1e-5"]) == 0
    again = tmp_path / "again.yaml"
    again.write_text(capsys.readouterr().out)
    expected = load(Path(recipe), ["train.learning_rate=1e-5"]).recipe
    assert load(again).recipe == expected.model_copy(update={"name": "model-lora-r16-lr1e-5-epochs1"})


def test_show_json_is_json(recipe: str, capsys: pytest.CaptureFixture[str]):
    assert run(["recipe", "show", recipe, "--resolved", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["train"]["learning_rate"] == 2e-4


def test_show_warns_on_stderr_of_what_a_flag_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = tmp_path / "recipe.yaml"
    file.write_text(MINIMAL + "train: {steps: 3}")
    assert run(["recipe", "show", str(file), "-o", "train.steps=5"]) == 0
    assert "warning: -o: train.steps = 5 overrides 3 of" in capsys.readouterr().err


def test_mistake_is_an_error_with_place_and_hint(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = tmp_path / "recipe.yaml"
    file.write_text(MINIMAL + "trian: 1")
    assert run(["recipe", "show", str(file)]) == 2
    err = capsys.readouterr().err
    assert "recipe.yaml:3: trian: unknown key" in err
    assert "hint: did you mean `train`?" in err
    assert "Traceback" not in err


def test_schema_is_json(capsys: pytest.CaptureFixture[str]):
    assert run(["recipe", "schema"]) == 0
    assert "properties" in json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("kind", ["methods", "metrics", "rewards"])
def test_plugins_are_listed_with_their_settings(kind: str, capsys: pytest.CaptureFixture[str]):
    assert run([kind, "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in listed] == list(plugins.names(kind))
    assert all(one["summary"] for one in listed)
    assert [setting["name"] for one in listed for setting in one["settings"] if not setting["help"]] == []


@pytest.mark.parametrize(
    ("kind", "shown"),
    [("methods", "train_on=assistant"), ("metrics", "ignore_case=false"), ("rewards", "timeout=10.0")],
)
def test_plugins_are_a_table_for_people(kind: str, shown: str, capsys: pytest.CaptureFixture[str]):
    assert run([kind]) == 0
    assert shown in capsys.readouterr().out
