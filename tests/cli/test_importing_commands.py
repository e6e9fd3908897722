"""Commands that are given another system's configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from lorry.cli.main import run
from lorry.recipe.load import load
from model_folders import save_model
from tiny_runs import chat_rows, write_rows

Capture = pytest.CaptureFixture[str]
CONFIG: dict[str, Any] = {
    "base_model": "model",
    "datasets": [{"path": "rows.jsonl", "type": "chat_template"}],
    "adapter": "lora",
    "lora_r": 4,
    "lora_alpha": 8,
    "lora_target_linear": True,
    "sequence_len": 128,
    "micro_batch_size": 2,
    "gradient_accumulation_steps": 1,
    "max_steps": 2,
    "learning_rate": 0.01,
    "val_set_size": 4,
    "output_dir": "./out",
    "hub_model_id": "someone/thing",
}


@pytest.fixture(autouse=True)
def at_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_model(tmp_path / "model")
    write_rows(tmp_path / "rows.jsonl", chat_rows(12))


def saved(**changes: Any) -> str:
    Path("config.yml").write_text(yaml.safe_dump({**CONFIG, **changes}, sort_keys=False), encoding="utf-8")
    return "config.yml"


@pytest.mark.parametrize(
    "words", [["check"], ["plan"], ["recipe", "show"], ["data", "show"], ["data", "stats"], ["run", "--dry-run"]]
)
def test_commands_take_it_as_a_recipe_and_tell_every_field_on_stderr(words: list[str], capsys: Capture):
    assert run([*words, saved()]) == 0
    told = capsys.readouterr()
    assert "config.yml is read as Axolotl's: 15 fields, 13 translated, 1 no effect, 1 not native" in told.err
    assert "  translated  micro_batch_size: 2 -> train.micro_batch: 2\n" in told.err
    assert "Axolotl" not in told.out


@pytest.mark.parametrize("words", [["check"], ["plan"], ["recipe", "show"], ["run", "--dry-run"]])
def test_json_on_stdout_stays_json(words: list[str], capsys: Capture):
    assert run([*words, saved(), "--json"]) == 0
    told = capsys.readouterr()
    json.loads(told.out)
    assert "is read as Axolotl's" in told.err


def test_rehearsal_takes_it(capsys: Capture):
    assert run(["rehearse", saved()]) == 0
    assert "is read as Axolotl's" in capsys.readouterr().err


def test_what_matters_and_is_not_native_is_an_error_before_anything_runs(lorry_home: Path, capsys: Capture):
    assert run(["run", saved(neftune_noise_alpha=5)]) == 2
    told = capsys.readouterr().err
    assert "error: config.yml:17: neftune_noise_alpha: 5: lorry has no such setting" in told
    assert "hint: Axolotl and Unsloth, run by themselves, can; `lorry recipe import config.yml --leave-out`" in told
    assert not (lorry_home / "runs").exists()


def test_import_prints_a_recipe_that_is_the_same(capsys: Capture):
    assert run(["recipe", "import", saved()]) == 0
    told = capsys.readouterr()
    assert "  micro_batch: 2  # micro_batch_size\n" in told.out
    assert "#   hub_model_id: someone/thing (" in told.out
    assert "is read as Axolotl's" in told.err
    Path("recipe.yaml").write_text(told.out, encoding="utf-8")
    assert load("recipe.yaml").recipe == load("config.yml").recipe


def test_import_writes_paths_as_seen_from_the_recipe(capsys: Capture):
    assert run(["recipe", "import", saved(), "-o", "recipes/mine.yaml"]) == 0
    assert "wrote recipes/mine.yaml; look at it, then: `lorry run recipes/mine.yaml`" in capsys.readouterr().err
    values = yaml.safe_load(Path("recipes/mine.yaml").read_text("utf-8"))
    assert (values["model"]["id"], values["data"]["train"]) == ("../model", "../rows.jsonl")
    assert load("recipes/mine.yaml").recipe == load("config.yml").recipe


def test_import_replaces_no_file_unless_it_is_told_to(capsys: Capture):
    Path("recipe.yaml").write_text("mine")
    assert run(["recipe", "import", saved(), "-o", "recipe.yaml"]) == 2
    assert "recipe.yaml exists already" in capsys.readouterr().err
    assert Path("recipe.yaml").read_text() == "mine"
    assert run(["recipe", "import", saved(), "-o", "recipe.yaml", "--force"]) == 0
    assert load("recipe.yaml").recipe.train.steps == 2


def test_import_leaves_out_what_matters_only_on_request(capsys: Capture):
    assert run(["recipe", "import", saved(neftune_noise_alpha=5), "-o", "recipe.yaml"]) == 2
    assert not Path("recipe.yaml").exists()
    assert run(["recipe", "import", "config.yml", "-o", "recipe.yaml", "--leave-out"]) == 0
    text = Path("recipe.yaml").read_text("utf-8")
    assert "#   LEFT OUT, though it matters: neftune_noise_alpha: 5 (" in text
    assert load("recipe.yaml").recipe.train.steps == 2


def test_import_of_what_is_not_whole_says_what_is_missing(capsys: Capture):
    sets = [{"path": "rows.jsonl", "type": "input_output"}]
    assert run(["recipe", "import", saved(datasets=sets), "-o", "recipe.yaml", "--leave-out"]) == 0
    assert "recipe.yaml is not whole yet: " in capsys.readouterr().err
    assert "LEFT OUT, though it matters: datasets[0].type: input_output" in Path("recipe.yaml").read_text("utf-8")


def test_import_as_json_tells_each_field_and_who_can_do_it(capsys: Capture):
    assert run(["recipe", "import", saved(neftune_noise_alpha=5), "--leave-out", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    fields = {one["name"]: one for one in told["fields"]}
    assert told["system"] == "axolotl"
    assert set(fields) == {*CONFIG, "neftune_noise_alpha", "datasets[0].path", "datasets[0].type"} - {"datasets"}
    assert fields["neftune_noise_alpha"]["engines"] == ["axolotl", "unsloth"]
    assert fields["neftune_noise_alpha"]["matters"] is True
    assert fields["sequence_len"]["to"] == ["data.max_length"]
    assert told["recipe"]["train"]["steps"] == 2


def test_import_of_a_recipe_is_an_error(capsys: Capture):
    Path("recipe.yaml").write_text("model: {id: model}\ndata: {train: rows.jsonl}\n")
    assert run(["recipe", "import", "recipe.yaml"]) == 2
    assert "is no configuration of Axolotl or LLaMA-Factory" in capsys.readouterr().err


def test_import_of_no_file_is_an_error(capsys: Capture):
    assert run(["recipe", "import", "nothing.yml"]) == 2
    assert "does not exist" in capsys.readouterr().err
