"""Benchmarks of lm-evaluation-harness: its results as scores, and a task of a tiny model where it is installed."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from lorry.evaluate import harness
from lorry.evaluate.gates import judged
from lorry.recipe.evaluation import EvaluateSettings, HarnessTask
from lorry.recipe.gates import parsed
from lorry.recipe.smoke import smoke
from model_folders import write_json
from subjects import recipe
from tiny_adapters import tiny


def result(value: float, error: Any = 0.1, **more: Any) -> dict[str, Any]:
    """What lm_eval 0.4.13 gives of a task `arc` and of a group with a part."""
    arc = {"name": "arc", "alias": "arc", "sample_len": 20, "acc,none": value, "acc_stderr,none": error, **more}
    return {
        "results": {"arc": arc},
        "higher_is_better": {"arc": {"acc": True, "bits": False}},
        "n-samples": {"arc": {"original": 20, "effective": 20}},
    }


def test_results_become_a_split_with_both_sides():
    both = {"base": {"arc": result(0.25)}, "adapter": {"arc": result(0.5)}}
    split, about = harness.as_split(both)
    entry = split["scores"]["arc.acc"]
    assert (split["rows"], entry["rows"]) == (20, 20)
    assert entry["base"]["value"] == 0.25
    assert entry["adapter"] == {
        "value": 0.5,
        "low": pytest.approx(0.304, abs=1e-3),
        "high": pytest.approx(0.696, abs=1e-3),
    }
    assert about["arc.acc"].higher_is_better is True
    (gate,) = judged([parsed("arc.acc", "> 0.4")], {"harness": split}, {})
    assert (gate["met"], gate["split"]) == (True, "harness")


def test_bounds_stay_within_a_share_and_are_missing_where_nobody_knows_them():
    wide = {side: {"arc": result(0.9, 0.2)} for side in ("base", "adapter")}
    assert harness.as_split(wide)[0]["scores"]["arc.acc"]["adapter"]["high"] == 1
    unknown = {side: {"arc": result(0.9, "N/A")} for side in ("base", "adapter")}
    assert harness.as_split(unknown)[0]["scores"]["arc.acc"]["adapter"]["low"] is None


def test_filters_and_directions_are_told_by_name():
    more = {"bits,none": 1.5, "acc,strict-match": 0.3, "acc_stderr,strict-match": 0.05, "text,none": "x"}
    split, about = harness.as_split({side: {"arc": result(0.5, **more)} for side in ("base", "adapter")})
    assert set(split["scores"]) == {"arc.acc", "arc.bits", "arc.acc.strict-match"}
    assert [about[name].higher_is_better for name in ("arc.bits", "arc.acc.strict-match")] == [False, True]


def test_group_without_numbers_of_its_own_gives_those_of_its_parts():
    one = {**result(0.5), "results": {"group": {"alias": "group"}, **result(0.5)["results"]}}
    assert list(harness.as_split({side: {"group": one} for side in ("base", "adapter")})[0]["scores"]) == ["arc.acc"]


def test_side_that_failed_is_missing():
    split, _ = harness.as_split({"base": {}, "adapter": {"arc": result(0.5)}})
    assert split["scores"]["arc.acc"]["base"] is None


def test_tasks_are_named_in_short_and_in_full_and_left_out_of_smoke_runs():
    settings = EvaluateSettings.model_validate(
        {"harness": ["arc", {"name": "gsm8k", "limit": 5, "fewshot": 0, "chat": True}]}
    )
    assert settings.harness == [HarnessTask(name="arc"), HarnessTask(name="gsm8k", limit=5, fewshot=0, chat=True)]
    assert smoke(recipe(evaluate={"harness": ["arc"]})).evaluate.harness == []


@pytest.mark.skipif(find_spec("lm_eval") is not None, reason="lm_eval is installed")
def test_missing_harness_is_said_with_what_to_install():
    assert "pip install 'lorry[harness]'" in str(harness.unavailable())


@pytest.mark.skipif(find_spec("lm_eval") is None, reason="lm_eval is not installed")
@pytest.mark.filterwarnings("ignore")
def test_real_harness_scores_both_sides_of_a_tiny_model(tmp_path: Path):
    documents = [{"question": f"say {number}", "label": number % 2} for number in range(6)]
    (tmp_path / "docs.jsonl").write_text("".join(json.dumps(one) + "\n" for one in documents))
    task = {
        "task": "mine",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(tmp_path / "docs.jsonl")}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{question}}",
        "doc_to_choice": ["red", "blue"],
        "doc_to_target": "label",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }
    write_json(tmp_path / "mine.yaml", task)  # JSON is YAML
    loaded, tokenizer = tiny(tmp_path / "model")
    theirs = harness.tokenizer_of(tmp_path / "model" / "model", tokenizer, trusted=False)
    beats: list[None] = []
    tasks = [HarnessTask(name=str(tmp_path / "mine.yaml"), limit=4), HarnessTask(name="no_such_task")]
    results: dict[Any, Any] = {}
    results["adapter"], failed = harness.run(loaded, theirs, tasks, 2, lambda: beats.append(None))
    with loaded.base_disabled():
        results["base"], _ = harness.run(loaded, theirs, tasks[:1], 2, lambda: None)
    assert len(failed) == 1
    assert "no_such_task" in failed[0]
    assert beats
    split, about = harness.as_split(results)
    assert split["rows"] == 4
    assert about["mine.acc"].higher_is_better is True
    assert 0 <= split["scores"]["mine.acc"]["adapter"]["value"] <= 1
    assert split["scores"]["mine.acc"]["base"] is not None
