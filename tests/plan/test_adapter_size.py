"""What an adapter sits on and how large it is, against PEFT itself and a published number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lorry.plan.adapter_places import modules, targeted
from lorry.plan.adapter_size import adapter_parameters, lora_parameters, with_score
from lorry.recipe.schema import LoraSettings
from lorry.trainer.sources.tensors import tensors
from model_folders import HIDDEN, save_model


def qwen25_7b() -> dict[str, tuple[int, ...]]:
    """Hidden 3,584, 28 layers, keys and values of width 512."""
    widths = {"q_proj": (3584, 3584), "k_proj": (512, 3584), "v_proj": (512, 3584), "o_proj": (3584, 3584)}
    return {f"model.layers.{layer}.self_attn.{name}": shape for layer in range(28) for name, shape in widths.items()}


def test_qwen25_7b_with_rank_8_on_attention_has_the_published_size():
    lora = LoraSettings(rank=8, target_modules=["q_proj", "k_proj", "v_proj", "o_proj"])
    assert lora_parameters(lora, qwen25_7b()) == 5_046_272


@pytest.mark.parametrize(
    ("targets", "dora"),
    [
        ("all-linear", False),
        ("all-linear", True),
        (["q_proj", "down_proj"], False),
        (["layers.0.self_attn.v_proj"], True),
    ],
)
def test_modules_and_size_are_those_of_peft(targets: Any, dora: bool, tmp_path: Path):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folder = save_model(tmp_path / "tiny")
    lora = LoraSettings(rank=4, target_modules=targets, dora=dora)
    shapes = modules(tensors(folder) or {})
    config = LoraConfig(r=4, target_modules=targets, use_dora=dora, task_type="CAUSAL_LM")
    real = get_peft_model(AutoModelForCausalLM.from_pretrained(folder), config)
    assert set(targeted(lora.target_modules, shapes)) == set(real.base_model.targeted_module_names)
    assert lora_parameters(lora, shapes) == real.get_nb_trainable_parameters()[0]


def test_adapter_of_a_reward_model_has_its_head_too(tmp_path: Path):
    from peft import get_peft_model
    from transformers import AutoModelForSequenceClassification

    from lorry.trainer.model import lora_config

    folder, lora = save_model(tmp_path / "tiny"), LoraSettings(rank=4, alpha=8)
    real = get_peft_model(
        AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1), lora_config(lora, "score")
    )
    counted = adapter_parameters(lora, with_score(tensors(folder) or {}, HIDDEN), "llama")
    assert counted == real.get_nb_trainable_parameters()[0]
