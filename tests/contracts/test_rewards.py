"""Every reward keeps the same promises, whoever wrote it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest

from lorry import plugins
from lorry.recipe.schema import Recipe
from lorry.trainer.rewards._base import Completion, Place, Reward

NAMES = plugins.names("rewards")
SETTINGS: dict[str, dict[str, Any]] = {
    "adapter": {"adapter": "judge"},
    "classifier": {"model": "owner/judge"},
    "metric": {"metric": "exact_match"},
    "python": {"file": "mine.py", "function": "f"},
}
"""Those that each needs; a new reward is added here, and whether it needs a model."""
WITHOUT_A_MODEL = ("metric", "python")
ASKED = [{"role": "user", "content": "Say red"}]


def made(name: str, **settings: Any) -> Reward:
    return cast("Reward", plugins.make("rewards", {"name": name, **SETTINGS[name], **settings}))


@pytest.mark.parametrize("name", NAMES)
def test_importing_a_reward_imports_no_torch(name: str):
    script = f"import sys; from lorry import plugins; plugins.find('rewards', {name!r}); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("name", NAMES)
def test_reward_says_what_it_is_and_what_it_is_called(name: str):
    reward = made(name)
    assert 20 < len(type(reward).summary()) <= 120
    assert reward.label
    assert reward.weight == 1.0
    assert reward.unavailable() is None or isinstance(reward.unavailable(), str)
    assert reward.at_once >= 1
    assert {*reward.files, *reward.models} <= set(type(reward).model_fields)


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_has_help(name: str):
    assert [key for key, field in plugins.find("rewards", name).model_fields.items() if not field.description] == []


@pytest.mark.parametrize("name", WITHOUT_A_MODEL)
def test_each_answer_gets_one_result_in_order(name: str, tmp_path: Path):
    (tmp_path / "mine.py").write_text("def f(completion, answer):\n    return float(completion == answer)\n", "utf-8")
    recipe = Recipe.model_validate({"model": {"id": "a/b"}, "data": {"train": "x"}})
    scorer = made(name).open(Place(recipe, tmp_path, tmp_path))
    texts = ("red", "blue", "", "red\x00", "red")
    assert scorer.scores([Completion(text, ASKED, "red") for text in texts]) == [1.0, 0.0, 0.0, 0.0, 1.0]
    assert scorer.scores([]) == []
    scorer.close()
    scorer.close()


def test_metric_of_which_less_is_better_is_turned_round(tmp_path: Path):
    recipe = Recipe.model_validate({"model": {"id": "a/b"}, "data": {"train": "x"}})
    scorer = made("metric", metric="dangerous_command").open(Place(recipe, tmp_path, tmp_path))
    assert scorer.scores([Completion("rm -rf / --no-preserve-root", ASKED), Completion("ls", ASKED)]) == [0.0, 1.0]
