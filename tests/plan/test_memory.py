"""What autograd keeps, as the plan counts it, against what it really keeps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

from lorry.data.examples import Example
from lorry.plan import memory
from lorry.plan.architecture.blueprint import blueprint
from lorry.plan.architecture.cards import card
from lorry.plan.architecture.model_shape import model_shape
from lorry.plan.memory import Load, Setup
from lorry.recipe.schema import LoraSettings, ModelSettings
from lorry.trainer import attention, lora_experts, lora_linear
from lorry.trainer.architectures import head_of
from lorry.trainer.forest import plant
from lorry.trainer.forward import Forward
from lorry.trainer.loss import token_loss
from lorry.trainer.model import _quantization, lora_config
from lorry.trainer.precision import Precision

SIZES: dict[str, Any] = {
    "hidden_size": 128,
    "intermediate_size": 352,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "num_hidden_layers": 6,
    "vocab_size": 600,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
}
ROWS, LENGTH, TRAINED = 4, 96, 24


def really_kept(kind: str, setup: Setup, **more: int) -> int:
    """Bytes that autograd keeps of a forward pass, each piece of memory once, weights not counted."""
    attention.register()
    config, lora, dtype = AutoConfig.for_model(kind, **SIZES, **more), setup.lora, getattr(torch, setup.weights)
    base = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation=attention.NAME)
    model: Any = base
    if lora is not None:
        model = get_peft_model(base, lora_config(lora, "language", base))
        lora_linear.speed_up(model)
        lora_experts.speed_up(model)
    forward = Forward(base.get_decoder(), head_of(base), torch.device("cpu"), "forest", config.vocab_size)
    held = {tensor.untyped_storage().data_ptr() for tensor in [*model.parameters(), *model.buffers()]}
    kept: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in held:
            kept[storage.data_ptr()] = storage
        return tensor

    marks = np.arange(LENGTH) >= LENGTH - TRAINED
    rows = [Example(np.random.default_rng(row).integers(3, 500, LENGTH), marks) for row in range(ROWS)]
    computing = torch.autocast("cpu", torch.bfloat16, enabled=setup.autocast)
    with computing, torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = token_loss(forward, plant(rows, share=False))
    assert loss.requires_grad
    return sum(storage.nbytes() for storage in kept.values())


ATTENTION = {"phi3": ["qkv_proj", "o_proj"]}
WAYS = {
    "fp32": Setup("float32", LoraSettings(rank=8), on_gpu=False),
    "bf16": Setup("bfloat16", LoraSettings(rank=8), on_gpu=False),
    "attention": Setup(
        "bfloat16", LoraSettings(rank=8, target_modules=["q_proj", "k_proj", "v_proj", "o_proj"]), on_gpu=False
    ),
    "full": Setup("float32", None, on_gpu=False),
    "autocast": Setup("float32", None, autocast=True, on_gpu=False),
}


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3", "mistral", "gemma2", "phi3", "olmo2", "smollm3"])
@pytest.mark.parametrize("way", WAYS)
def test_kept_activations_are_what_autograd_keeps(kind, way):
    setup = WAYS[way]
    if way == "attention" and kind in ATTENTION:
        setup = replace(setup, lora=LoraSettings(rank=8, target_modules=ATTENTION[kind]))
    shape, tensors = model_shape({"model_type": kind, **SIZES}), blueprint({"model_type": kind, **SIZES})
    load = Load(ROWS * LENGTH, ROWS * LENGTH, ROWS * TRAINED)
    # A trained head keeps its logits' softmax, a frozen one the gradient of what it was given.
    of_loss = 4 * SIZES["vocab_size"] if setup.lora is None else setup.size * SIZES["hidden_size"]
    expected = memory.kept(shape, tensors, setup, load) + of_loss * load.trained
    assert expected == pytest.approx(really_kept(kind, setup), rel=0.08)


EXPERTS = {"num_experts": 8, "num_local_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 96}


@pytest.mark.parametrize("kind", ["qwen3_moe", "mixtral", "olmoe"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("experts", [False, True])
def test_mixture_keeps_what_its_experts_and_routers_keep(kind, precision, experts):
    setup = Setup(precision, LoraSettings(rank=8, experts=experts), on_gpu=False)
    config = {"model_type": kind, **SIZES, **EXPERTS}
    shape, tensors = model_shape(config), blueprint(config)
    load = Load(ROWS * LENGTH, ROWS * LENGTH, ROWS * TRAINED)
    expected = memory.kept(shape, tensors, setup, load) + setup.size * SIZES["hidden_size"] * load.trained
    assert expected == pytest.approx(really_kept(kind, setup, **EXPERTS), rel=0.08)


@pytest.mark.parametrize(("lora", "least"), [(LoraSettings(rank=8), 0), (None, 4 * 600 * 128)])
def test_more_trained_tokens_than_are_computed_at_once_take_little_more(lora, least, monkeypatch):
    monkeypatch.setattr("lorry.trainer.logits._ON_CPU", 600 * 10)
    monkeypatch.setattr("lorry.trainer.logits._AT_ONCE", 600 * 10)
    shape = model_shape({"model_type": "llama", "tie_word_embeddings": True, **SIZES})
    few, many = (memory._logits(shape, Setup("float32", lora, on_gpu=False), Load(1, 1, count)) for count in (10, 1000))
    assert few > least
    assert many - few == (4 * 128 * 990 if lora else 0)


def test_frozen_head_takes_more_logits_at_once_on_a_gpu():
    shape = model_shape({"model_type": "llama", **SIZES, "vocab_size": 49_152})
    here, there = (
        memory._logits(shape, Setup("bfloat16", LoraSettings(), on_gpu=on), Load(1, 1, 5000)) for on in (False, True)
    )
    assert there > 7 * here


def really_quantised(folder: Path, quantization: str, *, double: bool) -> int:
    """Bytes of a model as bitsandbytes holds it: what is packed, its scales, and the rest."""
    settings = ModelSettings(id="m", quantization=quantization, double_quantization=double)
    config = _quantization(settings, AutoConfig.from_pretrained(folder), Precision("bfloat16", None, False, ""), [])
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, quantization_config=config)
    total = sum(parameter.nbytes for parameter in model.parameters())
    for parameter in model.parameters():
        state = getattr(parameter, "quant_state", None)
        if state is not None:
            total += state.absmax.nbytes + (state.state2.absmax.nbytes if state.nested else 0)
        scales = getattr(parameter, "SCB", None)
        total += scales.nbytes if scales is not None else 0
    return total


@pytest.mark.parametrize(("quantization", "double"), [("nf4", True), ("nf4", False), ("int8", True)])
def test_quantised_weights_take_what_bitsandbytes_takes(quantization, double, tmp_path):
    config = AutoConfig.for_model("llama", **{**SIZES, "hidden_size": 256, "intermediate_size": 512, "vocab_size": 500})
    AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(tmp_path)
    setup = Setup("bfloat16", LoraSettings(), quantization=quantization, double_quantization=double)
    counted = memory.weights(blueprint(config.to_dict()) or {}, setup)
    assert sum(counted.values()) == pytest.approx(really_quantised(tmp_path, quantization, double=double), rel=0.01)


def test_vision_part_of_a_loaded_model_is_not_quantised(tmp_path):
    text = {**SIZES, "num_hidden_layers": 2, "vocab_size": 500}
    vision = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = AutoConfig.for_model(
        "gemma3", text_config=text, vision_config={**vision, "image_size": 28, "patch_size": 14}
    )
    AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16).save_pretrained(tmp_path)
    wanted = _quantization(
        ModelSettings(id="m", quantization="nf4"), config, Precision("bfloat16", None, False, ""), []
    )
    model = AutoModelForImageTextToText.from_pretrained(tmp_path, dtype=torch.bfloat16, quantization_config=wanted)
    packed = {name for name, module in model.named_modules() if type(module).__name__ == "Linear4bit"}
    assert packed
    assert not [name for name in packed if "language_model" not in name]


def test_vision_part_and_experts_stay_as_they_are_and_that_is_said():
    setup = Setup("bfloat16", LoraSettings(), quantization="nf4")
    config = card("Qwen/Qwen2.5-VL-7B-Instruct")["config"]
    shape, counted = model_shape(config), memory.weights(blueprint(config) or {}, setup)
    assert "the vision part" in memory.stays_whole(shape)
    assert counted["16-bit weights"] > 2 * (shape.vision.parameters + shape.embedding_parameters)
    mixture = card("Qwen/Qwen3-30B-A3B")["config"]
    shape, counted = model_shape(mixture), memory.weights(blueprint(mixture) or {}, setup)
    assert "128 experts in each of 48 layers" in memory.stays_whole(shape)
    assert counted["16-bit weights"] > 2 * shape.expert_parameters
