"""Fingerprints of what a run brings along: they tell every change that matters, and none that does not."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

import tiny_runs
from lorry.recipe.schema import Recipe
from lorry.trainer.process import work
from lorry.trainer.saving import brought
from tiny_rewards import change_adapter, judged_recipe
from tiny_rollouts import recipe


def fingerprints(folder: Path, values: dict[str, Any]) -> dict[str, str]:
    return brought.fingerprints(Recipe.model_validate(values), folder)


def test_places_are_those_of_the_recipe(tmp_path):
    values = judged_recipe(tmp_path)
    values["method"]["rewards"] += ["rewards.py:vowels", "exact_match"]
    values["model"]["adapter"] = str(tmp_path / "reward")
    found = fingerprints(tmp_path, values)
    assert [*found] == ["model.adapter", "method.rewards[0].adapter", "method.rewards[1]"]
    assert found["model.adapter"] == found["method.rewards[0].adapter"]


def test_copy_elsewhere_and_later_has_the_same(tmp_path):
    values = judged_recipe(tmp_path)
    before = fingerprints(tmp_path, values)
    shutil.copytree(tmp_path / "reward", tmp_path / "elsewhere")
    for file in (tmp_path / "elsewhere").iterdir():
        os.utime(file, (1, 1))
    (tmp_path / "elsewhere" / "README.md").write_text("a card", encoding="utf-8")
    values["method"]["rewards"][0]["adapter"] = str(tmp_path / "elsewhere")
    assert fingerprints(tmp_path, values) == before


def test_one_weight_of_an_adapter_is_enough(tmp_path):
    values = judged_recipe(tmp_path)
    before = fingerprints(tmp_path, values)
    change_adapter(tmp_path / "reward", lambda found: {name: one + 1e-3 for name, one in found.items()})
    assert brought.changed(before, fingerprints(tmp_path, values)) == [
        "what `method.rewards[0].adapter` names has changed since the checkpoint was made: "
        "this run goes on with it as it is now"
    ]


def test_what_a_reward_imports_belongs_to_it(tmp_path):
    (tmp_path / "beside.py").write_text("ONE = 1\n", encoding="utf-8")
    values = recipe(tmp_path, "grpo", method={"rewards": ["mine.py:f"]})
    (tmp_path / "mine.py").write_text("import beside\ndef f(completion): return beside.ONE\n", encoding="utf-8")
    before = fingerprints(tmp_path, values)
    (tmp_path / "beside.py").write_text("ONE = 2\n", encoding="utf-8")
    assert fingerprints(tmp_path, values) != before


@pytest.mark.parametrize("at", [0, 100 << 20, (200 << 20) - 1])
def test_large_file_is_told_apart_by_its_blocks(at, tmp_path):
    file = tmp_path / "weights.bin"
    with file.open("wb") as opened:
        opened.truncate(200 << 20)
    before = brought._of_file(file)
    with file.open("r+b") as opened:
        opened.seek(max(0, at - (4 << 20)))
        opened.write(b"x" * min(4 << 20, (200 << 20) - at + (4 << 20)))
    assert brought._of_file(file) != before


def test_what_is_not_there_is_left_out(tmp_path):
    values = judged_recipe(tmp_path)
    before = fingerprints(tmp_path, values)
    shutil.rmtree(tmp_path / "reward")
    assert fingerprints(tmp_path, values) == {}
    assert brought.changed(before, {}) == []


def notes(run: Any) -> list[str]:
    return [event.data["message"] for event in tiny_runs.events_of(run, "note") if "names" in event.data["message"]]


def test_run_that_goes_on_with_another_reward_says_so_once(tmp_path):
    values = judged_recipe(tmp_path, train={"save_every": 1})
    run = tiny_runs.train_here(values)
    tiny_runs.cut_back(run, 3)
    work(run.folder.path)
    assert notes(run) == []
    tiny_runs.cut_back(run, 3)
    change_adapter(tmp_path / "reward", lambda found: {name: one + 1e-3 for name, one in found.items()})
    work(run.folder.path)
    assert len(notes(run)) == 1
    assert "method.rewards[0].adapter" in notes(run)[0]
    tiny_runs.cut_back(run, 4)
    work(run.folder.path)
    assert len(notes(run)) == 1


def test_run_that_goes_on_with_another_adapter_under_it_says_so(tmp_path):
    values = recipe(tmp_path, "grpo", train={"save_every": 1})
    first = tiny_runs.train_here(values)
    shutil.copytree(first.adapter, tmp_path / "earlier")
    values["model"]["adapter"] = str(tmp_path / "earlier")
    run = tiny_runs.train_here(values)
    tiny_runs.cut_back(run, 3)
    change_adapter(tmp_path / "earlier", lambda found: {name: one * 2 for name, one in found.items()})
    work(run.folder.path)
    assert "`model.adapter`" in " ".join(notes(run))


def test_checkpoint_from_before_there_were_fingerprints_goes_on_in_silence(tmp_path):
    assert brought.changed({}, {"model.adapter": "1"}) == []
