"""Answers through vLLM: said plainly where it is not, and tried where it is."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

import tiny_runs
from lorry.data.tokenizer import Tokenizer
from lorry.errors import RecipeError
from lorry.recipe.schema import Recipe
from lorry.trainer.rollouts.vllm_engine import VllmEngine
from tiny_rollouts import recipe


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vLLM is installed here")
def test_run_without_vllm_ends_with_what_to_do(tmp_path):
    run = tiny_runs.train_here(recipe(tmp_path, "grpo", method={"engine": "vllm"}))
    failed = tiny_runs.events_of(run, "failed")[-1].data
    assert "vLLM is not installed" in failed["error"]
    assert "leave `engine` out" in failed["hint"]


def test_vllm_is_given_an_adapter_or_nothing(tmp_path):
    values = Recipe.model_validate(recipe(tmp_path, "grpo", lora=None, method={"engine": "vllm"}))
    with pytest.raises(RecipeError, match="all weights are trained"):
        VllmEngine(values, tmp_path / "model", Tokenizer.open(tmp_path / "model"))


@pytest.mark.gpu
def test_run_learns_from_answers_of_vllm(tmp_path):
    pytest.importorskip("vllm", reason="it is tried where it is installed")
    run = tiny_runs.train_here(recipe(tmp_path, "grpo", method={"engine": "vllm"}))
    assert tiny_runs.events_of(run, "finished"), run.folder.events.read_text()[-2000:]
