"""Gates and the files of metrics before anything is spent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lorry import plugins
from lorry.plan.check import check
from lorry.plan.checks._base import Check
from lorry.plan.findings import Finding
from subjects import subject

METRICS = ["cer", "json_valid", "refusal_correct", "length"]


def run(name: str, folder: Path, **sections: Any) -> dict[str, Finding]:
    made = plugins.make("checks", name)
    assert isinstance(made, Check)
    return {finding.code: finding for finding in made.run(subject(folder, **sections))}


def gated(folder: Path, gates: dict[str, Any], **sections: Any) -> dict[str, Finding]:
    evaluate = {"metrics": METRICS, "gates": gates, **sections.pop("evaluate", {})}
    return run("gates", folder, evaluate=evaluate, **sections)


def test_sound_gates_have_nothing_to_say(tmp_path: Path):
    gates = {"cer": "< 10 %", "refusal_correct.recall": ">= 0.8", "length": ["> 2", "< 90"], "loss": "< 2 on eval"}
    assert gated(tmp_path, gates) == {}


@pytest.mark.parametrize(
    ("gates", "more", "code", "remedy"),
    [
        ({"wer": "< 0.1"}, {}, "gates.unknown", "did you mean `cer`?"),
        ({"refusal_correct.recal": "> 0.1"}, {}, "gates.unknown", "did you mean `refusal_correct.recall`?"),
        ({"bleu": "> 0.1"}, {}, "gates.unknown", "add it to evaluate.metrics, or name one of loss, perplexity, cer"),
        ({"reward": "> 0.1"}, {}, "gates.unknown", "add it"),
        ({"cer": "< 0.1 on test"}, {}, "gates.no-rows", "data.test"),
        ({"cer": "< 0.1"}, {"data": {"eval_split": 0}}, "gates.no-rows", "eval_split"),
        ({"cer": "< 0.1"}, {"evaluate": {"rows": 0}}, "gates.no-rows", "evaluate.rows"),
        ({"json_valid": ">= 95"}, {}, "gates.never", "`>= 95 %`"),
        ({"json_valid": "> 1"}, {}, "gates.never", "a number that it can reach"),
        ({"json_valid": "< 0"}, {}, "gates.never", "a number that it can reach"),
        ({"json_valid": ">= 0"}, {}, "gates.always", "can miss"),
        ({"json_valid": "> -0.1"}, {}, "gates.always", "can miss"),
        ({"refusal_correct": "<= 1"}, {}, "gates.always", "can miss"),
        ({"refusal_correct": "< 95"}, {}, "gates.always", "`< 95 %`"),
        ({"length": ">= 0"}, {}, "gates.always", "can miss"),
        ({"cer": "< 0"}, {}, "gates.never", "a number that it can reach"),
        ({"cer": "< 10"}, {}, "gates.loose", "`< 10 %`"),
        ({"cer": "> 0.1"}, {}, "gates.direction", "turn the sign round"),
        ({"json_valid": "< 0.9"}, {}, "gates.direction", "turn the sign round"),
    ],
)
def test_gate_that_cannot_be_right_is_found(gates: Any, more: dict[str, Any], code: str, remedy: str, tmp_path: Path):
    found = gated(tmp_path, gates, **more)
    assert list(found) == [code]
    assert found[code].remedy.find(remedy) >= 0, found[code]
    assert found[code].severity == ("warning" if code in ("gates.direction", "gates.loose") else "error")
    assert found[code].place == f"evaluate.gates.{next(iter(gates))}"


def test_limits_that_are_seldom_meant_are_told_apart_from_those_that_are(tmp_path: Path):
    assert gated(tmp_path, {"cer": "< 150 %", "loss": "> -1"}).keys() == {"gates.direction"}
    own = {"metrics": ["mine.py:f"], "gates": {"f": ">= 0"}}
    assert run("gates", tmp_path, evaluate=own) == {}  # a function of one's own may give less than 0


def test_scores_of_methods_may_be_gated(tmp_path: Path):
    pairs = [{"prompt": f"Say {at}", "chosen": "yes", "rejected": "no"} for at in range(9)]
    assert run("gates", tmp_path, rows=pairs, method="dpo", evaluate={"gates": {"preference_accuracy": "> 0.6"}}) == {}
    rewarded = {"gates": {"reward_accuracy": "> 0.6"}}
    assert run("gates", tmp_path, rows=pairs, method="reward", evaluate=rewarded) == {}
    learning = {"name": "grpo", "rewards": ["exact_match", "bash_valid"]}
    gates = {"reward": "> 0.6", "reward_bash_valid": "> 0.5"}
    assert run("gates", tmp_path, method=learning, evaluate={"gates": gates}) == {}


@pytest.mark.parametrize(
    ("score", "sections"),
    [
        ("loss", {"method": {"name": "grpo", "rewards": ["exact_match"]}}),
        ("perplexity", {"method": {"name": "grpo", "rewards": ["exact_match"]}}),
        ("cer", {"method": "cpt"}),
    ],
)
def test_score_that_a_method_never_gives_is_unknown(score: str, sections: dict[str, Any], tmp_path: Path):
    assert list(gated(tmp_path, {score: "< 0.5"}, **sections)) == ["gates.unknown"]


@pytest.mark.parametrize(
    ("gate", "sections", "told"),
    [
        ("> 0.5 on test", {}, "has its own"),
        ("> 0.5", {"method": "reward"}, "reward model"),
        ("> 0.5", {"compute": {"on": ["runpod"]}}, "rented machine"),
    ],
)
def test_benchmark_that_is_not_scored_cannot_be_gated(gate: str, sections: Any, told: str, tmp_path: Path):
    evaluate = {"harness": ["arc"], "gates": {"arc.acc": gate}}
    assert told in run("gates", tmp_path, evaluate=evaluate, **sections)["gates.benchmark"].message
    assert run("gates", tmp_path, evaluate={**evaluate, "gates": {"arc.acc": "> 0.5"}}) == {}


def test_gated_metric_that_cannot_work_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    named = {"metrics": ["bash_valid"], "gates": {"bash_valid": "> 0.9"}}
    assert run("extras", tmp_path, evaluate=named)["extras.metric"].severity == "error"


def files(folder: Path, *metrics: Any, **sections: Any) -> dict[str, Finding]:
    return run("metrics", folder, evaluate={"metrics": list(metrics)}, **sections)


def test_sound_files_of_metrics_have_nothing_to_say(tmp_path: Path):
    (tmp_path / "mine.py").write_text("raise SystemExit\ndef f(completion): return 1", "utf-8")
    (tmp_path / "schema.json").write_text(json.dumps({"type": "object"}), "utf-8")
    assert files(tmp_path, "mine.py:f", {"name": "json_valid", "json_schema": "schema.json"}) == {}


@pytest.mark.parametrize(
    ("text", "code", "told"),
    [
        (None, "metrics.file", "there is no `mine.py`"),
        ("def f(:", "metrics.syntax", "no Python"),
        ("def g(): return 1", "metrics.function", "has no function `f`"),
        ("async def f(): return 1", "metrics.function", "`async`"),
    ],
)
def test_function_that_cannot_be_called_is_found(text: str | None, code: str, told: str, tmp_path: Path):
    if text is not None:
        (tmp_path / "mine.py").write_text(text, "utf-8")
    found = files(tmp_path, "cer", "mine.py:f")
    assert list(found) == [code]
    assert told in found[code].message
    assert found[code].place in ("evaluate.metrics[1]", f"{tmp_path / 'mine.py'}:1")


@pytest.mark.parametrize(
    ("text", "code"), [(None, "metrics.file"), ("{", "metrics.schema"), ('{"type": "no"}', "metrics.schema")]
)
def test_schema_that_cannot_be_used_is_found(text: str | None, code: str, tmp_path: Path):
    if text is not None:
        (tmp_path / "schema.json").write_text(text, "utf-8")
    found = files(tmp_path, {"name": "json_valid", "json_schema": "schema.json"})
    assert list(found) == [code]
    assert found[code].remedy in ("correct it", "give a JSON file, relative to the recipe")


def test_file_that_is_in_the_clone_alone_is_noted(tmp_path: Path):
    compute = {"on": ["runpod"], "code": f"https://host.example/mine.git@{'a' * 40}"}
    found = files(tmp_path, "judges/none.py:f", compute=compute)
    assert {code: one.severity for code, one in found.items()} == {"metrics.in-clone": "note"}


def test_all_checks_let_a_sound_gated_recipe_pass(tmp_path: Path):
    evaluate = {"metrics": METRICS, "gates": {"cer": "< 0.5", "json_valid": "> 10 %"}}
    found = check(subject(tmp_path, train={"steps": 4}, evaluate=evaluate))
    assert [one for one in found if one.severity == "error"] == []
