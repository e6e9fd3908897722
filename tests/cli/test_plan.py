"""`lorry plan` on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

import run_folders
from expectations import expected
from lorry.cli.main import run
from lorry.plan.ranges import Range
from lorry.track.folder import write_json
from lorry.track.store import Store
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


def test_cap_stands_in_the_plan_where_there_is_one(recipe, capsys):
    run(["plan", str(recipe), "--gpu", "T4"])
    assert "Cap  " not in capsys.readouterr().out
    run(
        [
            "plan",
            str(recipe),
            "--gpu",
            "T4",
            "-o",
            "budget.hours=1.5",
            "-o",
            "budget.usd=3",
            "-o",
            "budget.price_per_hour=1",
        ]
    )
    assert "Cap       $3.00 or 1 h 30 min" in capsys.readouterr().out


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


def test_providers_stand_side_by_side_with_this_computer_first(recipe, capsys):
    assert run(["plan", str(recipe), "--compare", "runpod,colab,aws", "--budget", "500", "--value", "25"]) == 0
    told = capsys.readouterr().out
    table = told[told.index("\nprovider ") :].splitlines()[1:]
    assert [line.split("  ")[0] for line in table[1:5]] == ["this computer", "runpod", "colab", "aws"]
    assert "runs for $500 " in table[0]
    assert "gain" in table[0]
    assert "By hand   aws: GPU quota" in told
    assert "Buying    " in told
    assert "each $1,000 of its price" in told


def test_comparison_as_json_has_every_figure(recipe, capsys):
    words = ["--compare", "all", "--budget", "10", "--success-rate", "0.5", "--buy", "1800", "--json"]
    assert run(["plan", str(recipe), "--gpu", "4090", *words]) == 0
    found = json.loads(capsys.readouterr().out)["comparison"]
    rows = {row["provider"]: row for row in found["providers"]}
    runpod = rows["runpod"]
    assert list(rows)[:2] == ["this computer", "runpod"]
    assert runpod["runs"] > 0
    assert runpod["per_adapter"]["likely"] == pytest.approx(2 * runpod["per_run"]["likely"])
    assert (rows["colab"]["fits"], rows["colab"]["best"]) == (False, None)
    assert "no such machine" in rows["colab"]["reason"]
    assert found["buying"]["gpu"] == "RTX 4090"
    assert found["buying"]["break_even_hours"] > 0


def test_electricity_of_this_computer_is_what_was_said(recipe, capsys):
    words = ["--json", "--kwh", "0.5", "--watts", "200", "--gpu", "4090", "-o", "budget.price_per_hour=7"]
    assert run(["plan", str(recipe), *words]) == 0
    assert json.loads(capsys.readouterr().out)["offers"][0]["usd_per_hour"]["likely"] == pytest.approx(0.1)


def test_recipes_cap_says_why_nothing_fits(recipe, capsys):
    assert run(["plan", str(recipe), "--compare", "lambda", "-o", "budget.hours=0.0001"]) == 0
    assert "nothing fits: would take" in capsys.readouterr().out


def test_comparison_without_an_estimate_says_why_there_is_none(recipe, capsys):
    assert run(["plan", str(recipe), "--compare", "all", "--json", "-o", "model.id=nothing-here/at-all"]) != 0
    found = json.loads(capsys.readouterr().out)
    assert found["comparison"] is None
    assert found["no_estimate"]


@pytest.mark.parametrize(
    "words",
    [
        *[["--compare", "runpod", "--success-rate", wrong] for wrong in ("0", "2", "nan", "-0.1", "1e-320")],
        *[["--compare", "runpod", "--budget", wrong] for wrong in ("-1", "nan", "inf", "1e300", "much")],
        *[["--compare", "runpod", "--value", wrong] for wrong in ("-1", "nan", "inf")],
        *[["--compare", "runpod", "--buy", wrong] for wrong in ("-1", "nan", "inf")],
        *[["--compare", wrong] for wrong in ("runpd", "", ",", "runpod,runpod", "\x1b[2J", "a" * 5000)],
        *[["--kwh", wrong] for wrong in ("-1", "nan", "inf", "1e300")],
        *[["--watts", wrong] for wrong in ("-1", "nan", "inf")],
        *[[f"--{flag}", "1"] for flag in ("budget", "success-rate", "value", "buy")],
    ],
    ids=lambda words: " ".join(words)[:40],
)
def test_figures_that_cannot_be_are_refused_with_a_hint(recipe, words, capsys):
    assert run(["plan", str(recipe), *words]) == 2
    told = capsys.readouterr()
    assert told.err.startswith("error: ")
    assert "hint: " in told.err
    assert "Traceback" not in told.err
    assert "\x1b[2J" not in told.err
    assert told.out == ""


@pytest.mark.parametrize("words", [["--budget", "0"], ["--kwh", "0"], ["--buy", "0"], ["--budget", "1e12"]])
def test_figures_at_the_edge_are_compared(recipe, words, capsys):
    assert run(["plan", str(recipe), "--compare", "all", *words]) == 0
    assert "this computer" in capsys.readouterr().out


def test_page_is_written_where_it_is_wanted(recipe, tmp_path, capsys):
    page = tmp_path / "new folder" / "plan.html"
    assert run(["plan", str(recipe), "--html", str(page), "--json"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["exit_code"] == 0
    assert str(page) in told.err
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert [path.name for path in page.parent.iterdir()] == ["plan.html"]


def test_page_of_a_recipe_with_errors_is_written_too(recipe, tmp_path):
    page = tmp_path / "plan.html"
    assert run(["plan", str(recipe), "--html", str(page), "-o", "model.id=nothing-here/at-all"]) != 0
    assert "cannot start" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("wrong", ["", "recipe.yaml/plan.html", "a" * 300])
def test_page_that_cannot_be_written_is_an_error_with_a_hint(recipe, tmp_path, wrong, capsys):
    before = sorted(path.name for path in tmp_path.iterdir())
    assert run(["plan", str(recipe), "--html", f"{tmp_path}/{wrong}"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: the page cannot be written")
    assert "hint: " in told
    assert sorted(path.name for path in tmp_path.iterdir()) in (before, sorted([*before, "lorry-home"]))


def test_page_never_takes_the_place_of_a_device(recipe, capsys):
    assert run(["plan", str(recipe), "--html", "/dev/null"]) == 2
    assert "is no file" in capsys.readouterr().err
    assert not Path("/dev/null").is_file()


def test_accuracy_holds_past_plans_against_what_runs_took(tmp_path, lorry_home, capsys):
    folder = run_folders.finished(lorry_home / "runs" / "tiny-done")
    write_json(folder.plan, {"expected": expected({"training": Range(30, 50, 80)}).as_json()})
    write_json(folder.heartbeat, {"seconds": 40.0})
    Store.open().add(folder.id, name="n", folder=folder.path, model="m", method="sft", created_at=1.0)
    Store.open().update(folder.id, status="finished")
    assert run(["plan", "--accuracy"]) == 0
    told = capsys.readouterr().out
    assert "tiny-done" in told
    assert "1 of 1 took what was planned" in told
    assert "off by 25%" in told
    assert run(["plan", "--accuracy", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["all"]["within"] == 1


@pytest.mark.usefixtures("lorry_home")
def test_accuracy_of_no_runs_says_so(capsys):
    assert run(["plan", "--accuracy"]) == 0
    assert "no run that was planned has finished yet" in capsys.readouterr().err


def test_plan_of_nothing_is_an_error_with_a_hint(capsys):
    assert run(["plan"]) == 2
    assert "no recipe is named" in capsys.readouterr().err
