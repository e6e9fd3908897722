"""A plan for a model that cannot be had: its card stands in, and the plan says so."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from lorry.cli.main import run
from lorry.plan.plan import Plan, make_plan
from lorry.plan.subject import Subject
from lorry.recipe.load import load
from subjects import ROWS, save_rows
from tiny_vision import image_row, picture

RECIPES = Path(__file__).parents[2] / "recipes"


def recipe(folder: Path, model: str = "Qwen/Qwen2.5-7B-Instruct", **sections) -> Path:
    save_rows(folder / "rows.jsonl", ROWS)
    values = {"model": {"id": model}, "data": {"train": "rows.jsonl", "max_length": 512}, **sections}
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({"train": {"steps": 20}, **values}), encoding="utf-8")
    return path


def planned(folder: Path, **sections) -> Plan:
    return make_plan(Subject.of(load(recipe(folder, **sections))))


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def test_card_gives_memory_time_and_cost_where_the_hub_cannot_be_reached(tmp_path: Path):
    plan = planned(tmp_path)
    assert plan.estimate is not None
    assert plan.estimate.shape.parameters == 7_615_616_512
    assert plan.estimate.fits["here"].memory.device["weights"] == 2 * 7_615_616_512
    assert plan.estimate.tokens.computed == plan.estimate.tokens.rows, "what rows share cannot be known"
    assert "lorry's card of" in plan.subject.about


def test_run_is_refused_all_the_same(tmp_path: Path):
    plan = planned(tmp_path)
    assert plan.exit_code != 0
    assert any(one.code == "model.unavailable" for one in plan.findings)


def test_tokens_are_counted_by_words_and_marks(tmp_path: Path):
    (split,) = [planned(tmp_path).subject.prepared.train]
    assert set(split.lengths.tolist()) <= set(range(10, 30))


def test_model_without_a_card_has_no_estimate(tmp_path: Path):
    plan = planned(tmp_path, model="nobody/nothing-at-all")
    assert plan.estimate is None
    assert "the model cannot be had" in plan.no_estimate


def test_rows_that_cannot_be_read_leave_no_estimate(tmp_path: Path):
    plan = planned(tmp_path, data={"train": "none.jsonl"})
    assert plan.estimate is None


def test_what_stands_in_is_said_on_the_screen(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run(["plan", str(recipe(tmp_path)), "--gpu", "4090"])
    told = capsys.readouterr().out
    assert "About     the model cannot be had here" in told
    assert "runpod community, RTX 4090" in told


@pytest.mark.parametrize(
    "name", sorted(path.name for path in RECIPES.glob("*.yaml") if "pypi:" not in path.read_text())
)
def test_every_shipped_recipe_can_be_planned_without_a_network(name: str):
    assert make_plan(Subject.of(load(RECIPES / name))).estimate is not None


def test_cache_that_cannot_be_written_costs_the_estimate_alone(tmp_path: Path, lorry_home: Path):
    (lorry_home / "cache").mkdir(parents=True)
    (lorry_home / "cache" / "stand-ins").write_text("", encoding="utf-8")
    plan = planned(tmp_path)
    assert plan.estimate is None
    assert "the model cannot be had" in plan.no_estimate


def test_images_take_the_tokens_of_the_published_processor(tmp_path: Path):
    (tmp_path / "one.png").write_bytes(picture(1, 640, 480))
    path = recipe(tmp_path, model="Qwen/Qwen3-VL-4B-Instruct", data={"train": "images.jsonl", "eval_split": 0})
    save_rows(tmp_path / "images.jsonl", [image_row("<image>see", "a cat", ["one.png"])] * 2)
    plan = make_plan(Subject.of(load(path)))
    (image,) = plan.subject.prepared.train[0].images
    assert image.grid == (15, 20)
    assert plan.estimate is not None
    assert plan.estimate.tokens.image_tokens > 0
