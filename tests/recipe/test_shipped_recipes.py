from __future__ import annotations

from pathlib import Path

import pytest

from lorry.plan.check import check
from lorry.plan.subject import Subject
from lorry.recipe.load import load
from lorry.recipe.schema import Recipe
from lorry.recipe.smoke import smoke
from lorry.trainer.sources.locate import Source
from model_folders import save_model
from subjects import gpu, machine

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.stem)
def test_shipped_recipe_loads_without_a_warning(file: Path):
    loaded = load(file)
    assert loaded.warnings == []
    assert Recipe.model_validate(loaded.recipe.model_dump()) == loaded.recipe


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.stem)
def test_shipped_recipe_names_data_that_is_there(file: Path):
    data = load(file).recipe.data
    assert all(Path(str(name)).is_file() for name in (data.train, data.test) if name)


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.stem)
def test_shipped_recipe_is_explained_and_can_be_smoked(file: Path):
    loaded = load(file)
    assert loaded.text.startswith("# ")
    assert smoke(loaded.recipe).train.steps == 10


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.stem)
def test_shipped_recipe_has_no_error_by_the_checks(file: Path, tmp_path: Path):
    """With a small model in place of its own, which is not at hand everywhere; its rows are its own."""
    loaded = load(file)
    model = Source(loaded.recipe.model.id, "folder", save_model(tmp_path / "model", max_position_embeddings=32768))
    found = check(Subject(loaded.recipe, loaded.base, source=model, hardware=machine(gpu())))
    assert [finding for finding in found if finding.severity == "error"] == []
    assert "check.not-run" not in {finding.code for finding in found}
    assert "check.crashed" not in {finding.code for finding in found}


def test_the_three_recipes_are_shipped():
    assert {file.stem for file in RECIPES} >= {"demo", "cli-tuner", "cpt"}


def test_cli_tuner_is_what_it_promises():
    recipe = load(next(file for file in RECIPES if file.stem == "cli-tuner")).recipe
    lora, train = recipe.lora, recipe.train
    assert (recipe.model.id, recipe.model.quantization) == ("Qwen/Qwen2.5-Coder-7B-Instruct", "nf4")
    assert lora is not None
    assert (lora.rank, lora.alpha, lora.dropout) == (8, 16, 0.05)
    assert lora.target_modules == ["q_proj", "k_proj", "v_proj", "o_proj"]
    assert (recipe.data.max_length, recipe.data.packing) == (512, False)
    assert (train.micro_batch, train.accumulation, train.steps, train.learning_rate) == (1, 4, 500, 2e-4)
    assert (train.optimizer, train.weight_decay, train.schedule, train.warmup) == ("adamw_8bit", 0, "cosine", 0.1)
    assert (train.log_every, train.eval_every, train.save_every, train.keep) == (10, 50, 100, 3)
