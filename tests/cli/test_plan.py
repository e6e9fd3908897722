"""`lorry plan` on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from lorry.cli.main import run
from model_folders import save_model
from subjects import ROWS, save_rows


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    save_model(tmp_path / "tiny")
    save_rows(tmp_path / "rows.jsonl", ROWS)
    path = tmp_path / "recipe.yaml"
    path.write_text(
        yaml.safe_dump({"model": {"id": "tiny"}, "data": {"train": "rows.jsonl"}, "train": {"steps": 20}}),
        encoding="utf-8",
    )
    return path


def test_plan_says_memory_time_and_cost_here_and_elsewhere(recipe, capsys):
    assert run(["plan", str(recipe), "--gpu", "4090"]) == 0
    told = capsys.readouterr().out
    assert "20 steps" in told
    assert "this computer" in told
    assert "runpod community, RTX 4090" in told
    assert "H100" not in told


def test_plan_as_json_has_all_its_parts(recipe, capsys):
    assert run(["plan", str(recipe), "--gpu", "A100 80GB SXM", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert {"findings", "memory", "time", "cost", "offers"} <= plan.keys()
    assert plan["memory"]["here"]["peak"] == sum(plan["memory"]["here"]["device"].values())
    assert plan["time"]["low"] <= plan["time"]["likely"] <= plan["time"]["high"]
    assert plan["offers"][0]["provider"] == "this computer"
    assert {offer["gpu"] for offer in plan["offers"][1:]} == {"A100 80GB SXM"}


def test_unknown_gpu_is_named_with_the_nearest(recipe, capsys):
    assert run(["plan", str(recipe), "--gpu", "RTX 4091"]) == 2
    assert "no GPU that lorry has figures for" in capsys.readouterr().err


def test_plan_without_a_model_says_what_is_wrong(recipe, capsys):
    assert run(["plan", str(recipe), "-o", "model.id=nothing-here/at-all"]) != 0
    told = capsys.readouterr()
    assert "no estimate of memory, time and cost" in told.out


def test_over_budget_offers_stand_last_with_the_reason(recipe, capsys):
    assert run(["plan", str(recipe), "--gpu", "H100 SXM", "--all", "-o", "budget.hours=0.001"]) == 0
    assert "over the budget" in capsys.readouterr().out
