from __future__ import annotations

from pathlib import Path

import pytest

from lorry.errors import RecipeError
from lorry.recipe.load import Loaded, load

BASE = "model: {id: owner/model}\ndata: {train: rows.jsonl}\n"


def extended(folder: Path, child: str, parent: str = BASE, *flags: str) -> Loaded:
    (folder / "parent.yaml").write_text(parent)
    file = folder / "child.yaml"
    file.write_text(f"extends: parent.yaml\n{child}")
    return load(file, flags)


def test_child_adds_to_a_section_of_its_parent(tmp_path: Path):
    train = extended(tmp_path, "train: {steps: 5}", BASE + "train: {micro_batch: 3}").recipe.train
    assert (train.steps, train.micro_batch) == (5, 3)


def test_child_over_parent_warns_with_both_lines(tmp_path: Path):
    (warning,) = extended(tmp_path, "train:\n  keep: 5", BASE + "train:\n  keep: 2").warnings
    assert "child.yaml:3: train.keep = 5 overrides 2 of" in warning
    assert warning.endswith("parent.yaml:4")


def test_null_adapter_survives_the_merge(tmp_path: Path):
    assert extended(tmp_path, "lora: null", BASE + "lora: {rank: 4}").recipe.lora is None
    assert extended(tmp_path, "train: {keep: 1}", BASE + "lora: null").recipe.lora is None


def test_child_replaces_a_list_whole(tmp_path: Path):
    parent = BASE + "evaluate: {metrics: [exact_match, bash_valid]}"
    recipe = extended(tmp_path, "evaluate: {metrics: [bash_valid]}", parent).recipe
    assert recipe.evaluate.metrics == [{"name": "bash_valid"}]


def test_another_method_drops_the_settings_of_the_one_before(tmp_path: Path):
    recipe = extended(tmp_path, "method: cpt", BASE + "method: {name: sft, train_on: all}").recipe
    assert recipe.method == {"name": "cpt"}


def test_same_method_keeps_the_settings_of_the_one_before(tmp_path: Path):
    recipe = extended(tmp_path, "method: sft", BASE + "method: {name: sft, train_on: all}").recipe
    assert recipe.method == {"name": "sft", "train_on": "all"}


def test_steps_of_the_child_replace_epochs_of_the_parent(tmp_path: Path):
    result = extended(tmp_path, "train: {steps: 5}", BASE + "train: {epochs: 2}")
    assert (result.recipe.train.steps, result.recipe.train.epochs) == (5, None)


def test_three_files_and_a_flag_apply_in_order(tmp_path: Path):
    (tmp_path / "grandparent.yaml").write_text(BASE + "train: {steps: 1, keep: 1, seed: 1, micro_batch: 1}")
    parent = "extends: grandparent.yaml\ntrain: {steps: 2, keep: 2, seed: 2}"
    train = extended(tmp_path, "train: {steps: 3, keep: 3}", parent, "train.steps=4").recipe.train
    assert (train.steps, train.keep, train.seed, train.micro_batch) == (4, 3, 2, 1)


def test_mistake_in_the_parent_names_the_parent(tmp_path: Path):
    with pytest.raises(RecipeError) as caught:
        extended(tmp_path, "train: {keep: 3}", BASE + "train:\n  stepz: 3")
    assert caught.value.place.endswith("parent.yaml:4: train.stepz")


def test_circle_is_refused(tmp_path: Path):
    with pytest.raises(RecipeError, match=r"circle: child\.yaml → parent\.yaml → child\.yaml"):
        extended(tmp_path, "", "extends: child.yaml\n" + BASE)


def test_recipe_that_extends_itself_is_refused(tmp_path: Path):
    (tmp_path / "self.yaml").write_text("extends: ./self.yaml\n")
    with pytest.raises(RecipeError, match="circle"):
        load(tmp_path / "self.yaml")


@pytest.mark.parametrize("parent", ["nowhere.yaml", "[a.yaml]", "7", "''", "."])
def test_parent_that_cannot_be_read_is_refused_with_its_line(tmp_path: Path, parent: str):
    file = tmp_path / "child.yaml"
    file.write_text(BASE + f"extends: {parent}\n")
    with pytest.raises(RecipeError) as caught:
        load(file)
    assert "child.yaml:3: extends" in caught.value.place


def test_parent_may_be_a_python_recipe(tmp_path: Path):
    (tmp_path / "base.py").write_text("config = {'model_name': 'a/b', 'train_file': 'x.jsonl', 'max_steps': 4}")
    (tmp_path / "child.yaml").write_text("extends: base.py\ntrain: {steps: 5}")
    assert load(tmp_path / "child.yaml").recipe.train.steps == 5


def test_parent_whose_name_no_file_can_have_is_refused_briefly(tmp_path: Path):
    with pytest.raises(RecipeError, match="there is no file") as caught:
        extended(tmp_path, "", f"extends: {'a' * 5000}")
    assert len(str(caught.value)) < 600
