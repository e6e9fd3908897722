"""What the checks tell of a mixture's experts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lorry import plugins
from lorry.plan.architecture.blueprint import blueprint
from lorry.plan.architecture.cards import card
from lorry.plan.findings import Finding
from lorry.plan.subject import Subject
from lorry.recipe.schema import Recipe
from lorry.trainer.sources.tensors import Tensor
from model_folders import config, save_model, write_json
from subjects import recipe

SMALL = {
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "num_hidden_layers": 2,
    "head_dim": 16,
}


def run(name: str, given: Subject) -> dict[str, Finding]:
    return {found.code: found for found in plugins.make("checks", name).run(given)}  # type: ignore[attr-defined]


def mixture(
    folder: Path, kind: str = "qwen3_moe", tensors: dict[str, Tensor] | None = None, **sections: Any
) -> Subject:
    save_model(folder / "tiny")
    settings = config(model_type=kind, **SMALL)
    write_json(folder / "tiny" / "config.json", settings)
    return Subject(recipe(**sections), folder, tensors=tensors or blueprint(settings))


def test_experts_are_left_and_it_is_said_how_to_adapt_them(tmp_path: Path):
    found = run("experts", mixture(tmp_path))
    assert found["experts.left"].message == "the 8 experts in each of 2 layers get no adapter"
    assert "lora.experts: true" in found["experts.left"].evidence


def test_adapters_on_experts_are_counted(tmp_path: Path):
    found = run("experts", mixture(tmp_path, lora={"rank": 4, "experts": True}))["experts.adapted"]
    count = 2 * 8 * 4 * (32 + 2 * 16 + 16 + 32)
    assert found.message == f"8 experts in each of 2 layers get adapters of their own: {count:,} parameters"


@pytest.mark.parametrize(
    ("lora", "told"),
    [
        ({"experts": True, "dropout": 0.1}, "experts take no adapter with dropout"),
        ({"target_modules": ["q_proj", "gate_proj", "up_proj", "down_proj"], "dropout": 0.05}, "with dropout"),
        ({"experts": True, "dora": True}, "experts take no DoRA"),
        ({"target_modules": ["gate_proj"]}, "both are adapted, or none"),
        ({"target_modules": ["w1"], "experts": False}, "nothing is left to adapt"),
    ],
)
def test_what_peft_refuses_is_said_before_anything_runs(tmp_path: Path, lora: dict[str, Any], told: str):
    found = run("experts", mixture(tmp_path, lora=lora))
    assert told in found["experts.refused"].message
    assert "experts.adapted" not in found


@pytest.mark.parametrize("lora", [{"dropout": 0.1}, {"dora": True}, {"dropout": 0.1, "experts": False}])
def test_dropout_beside_the_experts_is_let_be(tmp_path: Path, lora: dict[str, Any]):
    assert "experts.refused" not in run("experts", mixture(tmp_path, lora=lora))


@pytest.mark.parametrize(
    ("name", "quantization", "told"),
    [
        ("experts.dwn_proj", "none", "no tensor called"),
        ("norm.weight", "none", "is no matrix"),
        ("q_proj.weight", "nf4", "is quantised"),
    ],
)
def test_tensors_that_take_no_adapter_are_named(tmp_path: Path, name: str, quantization: str, told: str):
    given = mixture(tmp_path, lora={"target_parameters": [name]}, model={"quantization": quantization})
    assert told in run("experts", given)["experts.missing"].message


def test_dense_layers_that_peft_cannot_name_are_told(tmp_path: Path):
    settings = config(model_type="deepseek_v3", **SMALL)
    found = run("experts", mixture(tmp_path, "deepseek_v3", blueprint({**settings, "first_k_dense_replace": 1})))
    assert "PEFT takes their names for the experts'" in found["experts.unreached"].message


def test_experts_that_stay_in_16_bits_are_told_with_their_size(tmp_path: Path):
    tensors = blueprint((card("Qwen/Qwen3-30B-A3B") or {})["config"])
    found = run("experts", mixture(tmp_path, tensors=tensors, model={"quantization": "nf4"}))["experts.whole"]
    assert found.message == "nf4 leaves the experts in 16 bits: 57.98 GB of a model of 61.06 GB"
    assert "Unsloth" in found.remedy


def test_balancing_loss_is_told_where_it_is_trained_on(tmp_path: Path):
    found = run("experts", mixture(tmp_path, train={"accumulation": 4}))["experts.aux-loss"]
    assert "counts 0.001 times, with one more forward pass" in found.message
    assert "experts.aux-loss" not in run("experts", mixture(tmp_path, train={"router_aux_loss_coef": 0}))


def test_balancing_loss_of_a_model_that_has_none_is_an_error(tmp_path: Path):
    save_model(tmp_path / "tiny")
    given: Recipe = recipe(train={"router_aux_loss_coef": 0.01})
    assert "experts.no-aux-loss" in run("experts", Subject(given, tmp_path))


@pytest.mark.parametrize("lora", [{}, {"experts": True}, None])
def test_dense_model_hears_nothing_of_experts(tmp_path: Path, lora: dict[str, Any] | None):
    save_model(tmp_path / "tiny")
    assert run("experts", Subject(recipe(lora=lora), tmp_path)) == {}


def test_names_of_experts_and_routers_are_no_missing_modules(tmp_path: Path):
    targets = ["q_proj", "gate", "gate_proj", "up_proj", "down_proj"]
    found = run("targets", mixture(tmp_path, lora={"target_modules": targets}))
    assert set(found) == {"targets.router", "targets.size"}
