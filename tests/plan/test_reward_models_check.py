"""Models that judge, before anything is spent: runs by name, heads, shapes, labels."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from judges import given, save_adapter, save_classifier
from lorry.plan.findings import Finding
from lorry.plan.reward_models import labels_of, misfit
from lorry.plan.subject import Subject
from lorry.recipe.earlier import Earlier
from lorry.track.folder import RunFolder, home
from lorry.track.store import Store
from lorry.trainer.sources.tensors import Tensor
from model_folders import save_model
from subjects import subject


def found(asked: Subject) -> dict[str, Finding]:
    from lorry.plan.checks.reward_models import RewardModelsCheck

    return {finding.code: finding for finding in RewardModelsCheck().run(asked)}


def save_run(name: str, method: str = "reward", **adapter: Any) -> RunFolder:
    folder = RunFolder(home() / "runs" / f"{name}-20260101-000000")
    folder.path.mkdir(parents=True)
    task = "SEQ_CLS" if method == "reward" else "CAUSAL_LM"
    save_adapter(folder.adapter, **{"task": task, "head": method == "reward", **adapter})
    folder.resolved.write_text(json.dumps({"smoke": False}), encoding="utf-8")
    Store.open().add(folder.id, name=name, folder=folder.path, model="tiny", method=method, created_at=1)
    return folder


@pytest.mark.parametrize("named", ["last", "judge", "judge-20260101-000000", "judge-2026"])
def test_run_is_found_by_every_name_that_continues_one(named: str, tmp_path: Path):
    run = save_run("judge")
    asked = given(tmp_path, {"name": "adapter", "adapter": named})
    assert found(asked) == {}
    (judge,) = asked.judges.values()
    assert (judge.run, judge.folder) == (run.id, run.adapter)


def test_run_that_is_no_reward_model_is_told_with_what_to_name(tmp_path: Path):
    run = save_run("writer", method="sft")
    told = found(given(tmp_path, {"name": "adapter", "adapter": "last"}))["rewards.no-head"]
    assert f"the adapter of `{run.id}` has no head" in told.message
    assert "`method: reward`" in told.remedy
    assert (told.severity, told.place) == ("error", "method.rewards[0]")


def test_name_of_no_run_is_told_at_its_place(tmp_path: Path):
    told = found(given(tmp_path, {"name": "adapter", "adapter": "nobody"}))["rewards.adapter"]
    assert "nobody" in told.message
    assert told.place == "method.rewards[0]"


def test_run_that_trained_all_weights_is_a_classifier(tmp_path: Path):
    run = save_run("judge")
    shutil.rmtree(run.adapter)
    save_model(run.adapter)
    told = found(given(tmp_path, {"name": "adapter", "adapter": "judge"}))["rewards.adapter"]
    assert "whole model" in told.message
    assert "name: classifier" in told.remedy


@pytest.mark.parametrize("missing", ["adapter_config.json", "adapter_model.safetensors"])
def test_folder_that_lost_a_file_is_told(missing: str, tmp_path: Path):
    (save_adapter(tmp_path / "judge") / missing).unlink()
    assert "rewards.adapter" in found(given(tmp_path, {"name": "adapter", "adapter": "./judge"}))


def test_weights_that_are_cut_short_are_told(tmp_path: Path):
    file = save_adapter(tmp_path / "judge") / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-9])
    assert "rewards.adapter" in found(given(tmp_path, {"name": "adapter", "adapter": "./judge"}))


def test_adapter_that_says_it_scores_and_has_no_head_is_told(tmp_path: Path):
    save_adapter(tmp_path / "judge", head=False)
    assert "rewards.no-head" in found(given(tmp_path, {"name": "adapter", "adapter": "./judge"}))


def test_adapter_of_a_base_of_another_shape_is_told(tmp_path: Path):
    save_adapter(tmp_path / "judge", hidden=48)
    told = found(given(tmp_path, {"name": "adapter", "adapter": "./judge"}))["rewards.other-base"]
    assert told.severity == "error"
    assert "32 x 32 weights, and the adapter's are 48 wide" in told.message


def test_adapter_of_a_base_of_another_name_is_a_warning(tmp_path: Path):
    save_adapter(tmp_path / "judge", base="someone/other")
    told = found(given(tmp_path, {"name": "adapter", "adapter": "./judge"}))["rewards.other-base"]
    assert told.severity == "warning"
    assert "trained on someone/other" in told.message


def test_base_of_its_own_is_what_it_is_held_against(tmp_path: Path):
    save_adapter(tmp_path / "judge", hidden=48, base="wide")
    save_model(tmp_path / "wide")
    reward = {"name": "adapter", "adapter": "./judge", "base_model": "./wide"}
    assert "48 wide" in found(given(tmp_path, reward))["rewards.other-base"].message
    shutil.rmtree(tmp_path / "wide")
    told = found(given(tmp_path, reward))["rewards.model"]
    assert (told.severity, told.place) == ("error", "method.rewards[0].base_model")


def test_shapes_that_cannot_be_told_are_let_pass():
    adapter = {"base_model.model.a.q.lora_A.weight": Tensor((4, 32))}
    assert misfit(adapter, {"a.q.weight": Tensor((512, 1), "U8")}) == ""
    assert misfit({"odd": Tensor((1,))}, {}) == ""
    assert "no a.q" in misfit(adapter, {"b.q.weight": Tensor((32, 32))})


def test_what_another_recipe_will_make_is_looked_at_in_that_recipe(tmp_path: Path):
    asked = given(tmp_path, {"name": "adapter", "adapter": "judge"})
    places = {("method", "rewards", 0, "adapter"): "judge"}

    def to_come(method: str, **sections: Any) -> dict[str, Finding]:
        maker = subject(tmp_path, method=method, name="judge", **sections).recipe
        there = {keys: Earlier(named, None, maker=maker) for keys, named in places.items()}
        return found(asked.continuing(there))

    assert {code: one.severity for code, one in to_come("reward").items()} == {"rewards.to-come": "note"}
    assert "trains with `sft`" in to_come("sft")["rewards.no-head"].message
    assert "trains all weights" in to_come("reward", lora=None)["rewards.adapter"].message


def test_classifier_of_several_labels_needs_one_to_be_named(tmp_path: Path):
    save_classifier(tmp_path / "moods", ["sad", "plain", "glad"])
    reward = {"name": "classifier", "model": "./moods"}
    told = found(given(tmp_path, reward))["rewards.labels"]
    assert "3 labels" in told.message
    assert told.remedy == "set `output` to one of sad, plain, glad"
    assert "no label `happy`" in found(given(tmp_path, {**reward, "output": "happy"}))["rewards.labels"].message
    assert found(given(tmp_path, {**reward, "output": "glad"})) == {}


def test_labels_are_those_that_transformers_would_give():
    assert labels_of({}) == ["LABEL_0", "LABEL_1"]
    assert labels_of({"num_labels": 1}) == ["LABEL_0"]
    assert labels_of({"id2label": {"10": "k", "2": "c"}}) == ["c", "k"]


def test_model_that_writes_or_is_not_there_is_no_classifier(tmp_path: Path):
    save_model(tmp_path / "writer")
    assert (
        "does not classify"
        in found(given(tmp_path, {"name": "classifier", "model": "./writer"}))["rewards.model"].message
    )
    told = found(given(tmp_path, {"name": "classifier", "model": "./nowhere"}))
    assert {code: one.severity for code, one in told.items()} == {"rewards.model": "error", "rewards.size": "note"}
