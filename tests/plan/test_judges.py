"""What reward models take in plans: weights once or twice, a batch's activations, forward passes; and vLLM's share."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from judges import given, save_adapter, save_classifier
from lorry.plan.hardware import Gpu
from lorry.plan.memory import Judge, Load, Setup, estimate
from lorry.plan.planner import Planner
from lorry.plan.speed import duration
from lorry.trainer.rollouts.vllm_engine import SHARE
from lorry.trainer.sources.tensors import tensors
from model_folders import save_model
from subjects import gpu, machine

ADAPTER = 4 * (2 * 4 * 32 + 32)
"""Bytes in fp32 of the adapter that `save_adapter` writes, with its head."""


def planner(folder: Path, reward: Any, **sections: Any) -> Planner:
    return given(folder, reward, **{"hardware": machine(), **sections}).planner


def parts(folder: Path, reward: Any, **sections: Any) -> dict[str, int]:
    found, _ = planner(folder, reward, **sections).on_this_computer()
    return found.memory.device


def whole(folder: Path) -> int:
    """Bytes of a model's tensors, in fp32."""
    return 4 * sum(math.prod(one.shape) for one in (tensors(folder) or {}).values())


def test_shared_base_costs_the_adapter_alone(tmp_path: Path):
    save_adapter(tmp_path / "judge")
    assert parts(tmp_path, {"name": "adapter", "adapter": "./judge"})["reward models"] == ADAPTER
    named = {"name": "adapter", "adapter": "./judge", "base_model": "./tiny"}
    assert parts(tmp_path, named)["reward models"] == ADAPTER


@pytest.mark.parametrize("why", ["all weights are trained", "the adapter changes its base", "another base"])
def test_base_that_is_not_shared_counts_a_second_time(why: str, tmp_path: Path):
    reward, sections = {"name": "adapter", "adapter": "./judge"}, dict[str, Any]()
    save_model(tmp_path / "other")
    save_adapter(tmp_path / "judge", **({"init_lora_weights": "pissa"} if "changes" in why else {}))
    reward |= {"base_model": "./other"} if "another" in why else {}
    sections |= {"lora": None} if "trained" in why else {}
    found = parts(tmp_path, reward, **sections)["reward models"]
    assert found == whole(tmp_path / "other") + ADAPTER + 4 * 32  # its own head, beside the adapter's


def test_classifier_counts_as_it_is_stored(tmp_path: Path):
    save_classifier(tmp_path / "moods", ["sad", "glad"])
    found = parts(tmp_path, {"name": "classifier", "model": "./moods"})
    assert found["reward models"] == whole(tmp_path / "moods")


def test_rewards_that_are_no_models_take_nothing(tmp_path: Path):
    assert "reward models" not in parts(tmp_path, {"name": "metric", "metric": "exact_match"})


def test_model_of_unknown_size_is_told_and_left_out(tmp_path: Path):
    reward = {"name": "classifier", "model": "./nowhere"}
    assert "reward models" not in parts(tmp_path, reward)
    assert planner(tmp_path, reward).unknown_judges == ("method.rewards[0]",)


def test_large_batch_of_answers_to_judge_is_the_peak(tmp_path: Path):
    save_adapter(tmp_path / "judge")
    small, large = (
        parts(tmp_path, {"name": "adapter", "adapter": "./judge", "batch_size": size}) for size in (1, 4096)
    )
    assert "rewards of answers" not in small
    assert large["rewards of answers"] > 1000 * ADAPTER
    assert "activations" not in large


def test_judging_takes_time_by_the_model_that_reads(tmp_path: Path):
    save_adapter(tmp_path / "judge")
    here = planner(tmp_path, {"name": "adapter", "adapter": "./judge"})
    offer = here._here()
    setup, fits = here._setup(offer), here._fit(offer)
    assert fits.rung is not None
    computes = here._device(offer, setup, fits.rung)
    assert computes is not None

    def taken(*judges: Judge) -> Any:
        work = here._workload(replace(setup, judges=judges), fits.rung)
        return duration(work, computes, at_hand=True)

    (judge,) = setup.judges
    none, once, twice = taken(), taken(judge), taken(judge, judge)
    answers = here.tokens.answers
    assert answers is not None
    tokens = answers.prompt_tokens + answers.count * answers.tokens.low
    expected = 2 * judge.parameters * tokens / (computes.efficiency.likely * computes.rate)
    assert once.training.likely - none.training.likely == pytest.approx(expected)
    assert twice.training.likely - once.training.likely == pytest.approx(expected)
    assert once.loading.likely > none.loading.likely


def big(folder: Path, memory: int, **sections: Any) -> Any:
    save_adapter(folder / "judge") if not (folder / "judge").exists() else None
    one = Gpu("NVIDIA A100", memory, 8.0, "550.54")
    reward = {"name": "adapter", "adapter": "./judge"}
    return planner(folder, reward, hardware=machine(one), method={"engine": "vllm"}, **sections).on_this_computer()[0]


def test_vllm_takes_its_share_while_it_answers_and_sleeps_in_host_memory(tmp_path: Path):
    found = big(tmp_path, 40 * 10**9).memory
    assert found.device["vLLM"] == SHARE * 40 * 10**9
    assert found.host["vLLM asleep"] == found.device["weights"]
    assert "keys and values of answers" not in found.device


def test_gpu_whose_share_does_not_hold_the_weights_is_asked_for_more_than_it_has(tmp_path: Path):
    """So that the run does not fit there: vLLM would not start."""
    reward = {"name": "metric", "metric": "exact_match"}
    made = planner(tmp_path, reward, hardware=machine(gpu()), method={"engine": "vllm"})
    setup, weights = made._setup(made._here()), whole(tmp_path / "tiny")
    assert made._engine(setup, weights) > weights
    assert made._engine(setup, 100 * weights) == round(SHARE * 100 * weights)


def test_estimate_adds_judges_to_what_is_kept(tmp_path: Path):
    judge = Judge(weights=10**9, parameters=1, working=10, at_once=2)
    save_model(tmp_path / "tiny")
    shape = planner(tmp_path, {"name": "metric", "metric": "exact_match"}).shape
    load = Load(8, 8, 8, answers=1, answer_tokens=4)
    from lorry.recipe.schema import LoraSettings

    setup = Setup("float32", LoraSettings(), on_gpu=False, judges=(judge, judge))
    assert estimate(shape, tensors(tmp_path / "tiny") or {}, setup, load).device["reward models"] == 2 * 10**9
