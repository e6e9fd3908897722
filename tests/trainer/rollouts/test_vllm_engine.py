"""Answers through vLLM: said plainly where it is not or does not fit, asked as its release wants it, and tried where it is."""

from __future__ import annotations

import inspect
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import tiny_runs
from lorry.data.tokenizer import Tokenizer
from lorry.errors import RecipeError, RunFailedError
from lorry.evaluate.drawing import Draws, Sampling
from lorry.evaluate.generation import Limits, answer_tokens
from lorry.recipe.schema import Recipe
from lorry.trainer.rollouts.vllm_engine import VllmEngine, options_of, sampling_of, unfit
from tiny_adapters import tiny
from tiny_rollouts import METHODS, recipe
from vllm_stand_in import LLM, NAMES, vllm_here

if TYPE_CHECKING:
    from lorry.trainer.model import LoadedModel

Tiny = tuple["LoadedModel", Tokenizer]
PROMPTS = [[5, 6, 7], [9] * 20, [70, 71], [5] * 40]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tiny]:
    folder = tmp_path_factory.mktemp("vllm")
    return folder, tiny(folder)


def values(**sections: Any) -> Recipe:
    method = {"name": "grpo", "rewards": ["exact_match"], "engine": "vllm", **sections.pop("method", {})}
    defaults = {"model": {"id": "org/tiny"}, "data": {"train": "rows.jsonl", "max_length": 64}, "method": method}
    return Recipe.model_validate({**defaults, **sections})


def silent() -> None: ...


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vLLM is installed here")
def test_run_without_vllm_ends_with_what_to_do(tmp_path):
    run = tiny_runs.train_here(recipe(tmp_path, "grpo", method={"engine": "vllm"}))
    failed = tiny_runs.events_of(run, "failed")[-1].data
    assert "vLLM is not installed" in failed["error"]
    assert "leave `engine` out" in failed["hint"]


@pytest.mark.parametrize(
    ("sections", "told"),
    [
        ({"lora": None}, "all weights are trained"),
        ({"lora": {"dora": True}}, "no DoRA"),
        ({"lora": {"rank": 513}}, "rank 512 at most"),
        ({"model": {"id": "org/tiny", "quantization": "int8"}}, "not to int8"),
        ({"method": {"temperature": 2.5}}, "from 0.01 to 2, not at 2.5"),
        ({"method": {"temperature": 0.001}}, "not at 0.001"),
    ],
)
def test_recipe_that_vllm_cannot_answer_for_is_refused(sections: dict[str, Any], told: str, model: tuple[Path, Tiny]):
    folder, (loaded, tokenizer) = model
    with vllm_here() as engines, pytest.raises(RecipeError, match=told) as caught:
        VllmEngine(values(**sections), folder / "model", tokenizer, loaded)
    assert caught.value.place == "method.engine"
    assert engines == []


def test_recipe_that_fits_is_not_refused():
    assert unfit(values(lora={"rank": 512}, method={"temperature": 2.0})) == ""


@pytest.mark.parametrize(("rank", "told"), [(1, 8), (8, 8), (9, 16), (65, 128), (300, 320), (512, 512)])
def test_engine_is_told_of_a_rank_that_it_knows(rank: int, told: int, model: tuple[Path, Tiny]):
    _, (loaded, _) = model
    assert options_of(values(lora={"rank": rank}), loaded)["max_lora_rank"] == told


def test_engine_is_told_of_no_more_positions_than_the_model_has(model: tuple[Path, Tiny]):
    _, (loaded, _) = model
    lengths = [options_of(values(data={"train": "x", "max_length": length}), loaded) for length in (64, 4096)]
    assert [one["max_model_len"] for one in lengths] == [64, 256]


@pytest.mark.parametrize(
    ("weights", "autocast", "told"),
    [("bfloat16", None, "bfloat16"), ("float16", None, "float16"), ("float32", None, "auto")],
)
def test_engine_computes_in_what_the_model_is_held_in(
    weights: str, autocast: str | None, told: str, model: tuple[Path, Tiny], monkeypatch: pytest.MonkeyPatch
):
    _, (loaded, _) = model
    precision = type(loaded.precision)(weights, autocast, scaled=False, why="")
    monkeypatch.setattr(loaded, "precision", precision)
    assert options_of(values(), loaded)["dtype"] == told


def test_quantised_base_is_quantised_by_the_engine_as_well(model: tuple[Path, Tiny]):
    _, (loaded, _) = model
    nf4 = options_of(values(model={"id": "org/tiny", "quantization": "nf4"}), loaded)
    assert nf4["quantization"] == "bitsandbytes"
    assert "quantization" not in options_of(values(), loaded)


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_all_that_the_engine_is_told_is_called_as_in_its_release(quantization: str, model: tuple[Path, Tiny]):
    _, (loaded, _) = model
    options = options_of(values(model={"id": "org/tiny", "quantization": quantization}), loaded)
    assert set(options) <= {*NAMES["LLM"], *NAMES["EngineArgs"]}
    for draws in (None, Draws(Sampling(), [(0, 1, 2)])):
        assert set(sampling_of(draws, 0, 8, [2])) <= set(NAMES["SamplingParams"])


def test_answers_are_drawn_by_seeds_of_their_own_and_the_same_again():
    draws = Draws(Sampling(0.7, 0.9, 5), [(0, 1, place) for place in range(64)])
    found = [sampling_of(draws, at, 8, [2, 3]) for at in range(64)]
    assert found == [sampling_of(draws, at, 8, [2, 3]) for at in range(64)]
    assert len({one["seed"] for one in found}) == 64
    assert all(0 <= one["seed"] < 2**31 for one in found)
    assert {(one["temperature"], one["top_p"], one["top_k"]) for one in found} == {(0.7, 0.9, 5)}


def test_likeliest_answers_are_those_of_transformers(model: tuple[Path, Tiny]):
    """The adapter as it is now, with our ends and within the model's room."""
    folder, (loaded, tokenizer) = model
    prompts, beats = [*PROMPTS, [], [5] * 250, [5] * 256], list[None]()
    with vllm_here() as engines:
        settings = values(data={"train": "x", "max_length": 256})
        engine = VllmEngine(settings, folder / "model", tokenizer, loaded)
        made = engine.answers(loaded, prompts, 24, None, lambda: beats.append(None))
        assert engines[0].is_asleep
    assert made == answer_tokens(loaded, tokenizer, prompts, Limits(24, 1))[0]
    assert [len(one) for one in made[-3:]] == [0, 6, 0]
    assert len(beats) == sum(map(bool, made)), "a sign of life as each answer ends"


def test_each_rollout_answers_with_the_weights_of_then(model: tuple[Path, Tiny]):
    import torch

    folder, (loaded, tokenizer) = model
    adapter = [one for name, one in loaded.model.named_parameters() if "lora_B" in name]
    with vllm_here():
        engine = VllmEngine(values(), folder / "model", tokenizer, loaded)
        before = engine.answers(loaded, PROMPTS, 12, None, silent)
        with torch.no_grad():
            for one in adapter:
                one.neg_()
        try:
            after = engine.answers(loaded, PROMPTS, 12, None, silent)
            assert after == answer_tokens(loaded, tokenizer, PROMPTS, Limits(12, 1))[0]
        finally:
            with torch.no_grad():
                for one in adapter:
                    one.neg_()
    assert before != after


def test_engine_that_cannot_start_ends_with_its_words_and_what_to_do(
    model: tuple[Path, Tiny], monkeypatch: pytest.MonkeyPatch
):
    folder, (loaded, tokenizer) = model
    monkeypatch.setattr(LLM, "fails", "Engine core initialization failed.\nSee root cause above.")
    with vllm_here(), pytest.raises(RunFailedError, match="Engine core initialization failed") as caught:
        VllmEngine(values(), folder / "model", tokenizer, loaded)
    assert "leave `engine` out" in caught.value.hint


@pytest.mark.parametrize("method", METHODS)
def test_run_learns_from_what_the_engine_answers(method: str, tmp_path: Path):
    with vllm_here() as engines:
        run = tiny_runs.train_here(recipe(tmp_path, method, method={"engine": "vllm"}))
        (engine,) = engines
        assert tiny_runs.events_of(run, "finished"), run.folder.events.read_text()[-2000:]
        assert len(engine.adapters) == 3 + 3, "three rollouts, and three evaluations"
        assert engine.is_asleep
    assert len(tiny_runs.events_of(run, "rollout")) == 3


@pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed here")
def test_names_are_still_those_of_the_vllm_that_is_installed():
    import vllm  # pyright: ignore[reportMissingImports]

    there = {*inspect.signature(vllm.LLM).parameters, *inspect.signature(vllm.EngineArgs).parameters}
    used = {
        "enable_lora",
        "max_lora_rank",
        "max_model_len",
        "gpu_memory_utilization",
        "enable_sleep_mode",
        "quantization",
    }
    assert used | {"trust_remote_code", "dtype"} <= there
    assert set(sampling_of(Draws(Sampling(), [(0,)]), 0, 8, [2])) <= set(
        inspect.signature(vllm.SamplingParams).parameters
    )


@pytest.mark.gpu
def test_run_learns_from_answers_of_vllm(tmp_path):
    pytest.importorskip("vllm", reason="it is tried where it is installed")
    run = tiny_runs.train_here(recipe(tmp_path, "grpo", method={"engine": "vllm"}))
    assert tiny_runs.events_of(run, "finished"), run.folder.events.read_text()[-2000:]
