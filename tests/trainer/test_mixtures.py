"""Adapters on a mixture's experts: in the right places, equal to PEFT's, and loaded by PEFT alone."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch
from peft import LoraConfig, PeftModel
from peft.utils.transformers_weight_conversion import convert_peft_config_for_transformers
from transformers import AutoConfig

from lorry.plan.adapter_places import _taken_for_experts
from lorry.trainer import attention, lora_experts
from lorry.trainer.forest import plant
from lorry.trainer.mixtures import AUX_LOSS_COEF, coefficient
from tiny_models import (
    compare,
    forward_of,
    loss_and_gradients,
    rows,
    tiny_model,
    with_recipe_lora,
    worst_difference,
)

RELATIVE = 1e-5
KINDS = ["deepseek_v3", "ernie4_5_moe", "flex_olmo", "glm4_moe", "gpt_oss", "granitemoe", "mellum", "minimax_m2"]
KINDS += ["mixtral", "olmoe", "qwen2_moe", "qwen3_moe"]
EAGER = {"gpt_oss": "eager"}
PLACES = {
    "experts": {"experts": True},
    "attention": {},
    "named": {"target_modules": ["q_proj", "gate_proj", "up_proj", "down_proj"]},
    "tensor": {"target_modules": ["o_proj"], "target_parameters": ["experts.down_proj"]},
}
IDS = torch.arange(3, 43).view(2, 20)


def model_of(kind: str) -> torch.nn.Module:
    return tiny_model(kind, EAGER.get(kind, "sdpa")).eval()


@pytest.mark.filterwarnings("ignore")  # gpt-oss's rotary positions, made short
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("where", PLACES)
def test_saved_adapter_answers_the_same_in_plain_peft(kind, where, tmp_path):
    adapted = with_recipe_lora(model_of(kind), **PLACES[where])
    lora_experts.speed_up(adapted)
    adapted.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(model_of(kind), tmp_path).eval()
    with torch.no_grad():
        found, plain = loaded(input_ids=IDS).logits, model_of(kind)(input_ids=IDS).logits
        torch.testing.assert_close(adapted.eval()(input_ids=IDS).logits, found, rtol=1e-4, atol=1e-4)
    assert float((found - plain).abs().max()) > 0.1


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("where", PLACES)
def test_router_is_left_untouched(kind, where):
    adapted = with_recipe_lora(model_of(kind), **PLACES[where])
    trained = [name for name, weight in adapted.named_parameters() if weight.requires_grad]
    assert trained
    assert not [name for name in trained if ".gate." in name or ".router." in name]
    assert any(".experts." in name for name in trained) == (where != "attention")


def test_router_is_adapted_where_it_is_named():
    adapted = with_recipe_lora(model_of("qwen3_moe"), target_modules=["q_proj", "gate"])
    assert any(".mlp.gate.lora_A" in name for name, weight in adapted.named_parameters() if weight.requires_grad)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["deepseek_v3", "gpt_oss", "granitemoe", "mixtral", "olmoe", "qwen2_moe", "qwen3_moe"])
@pytest.mark.parametrize("where", [{"experts": True}, PLACES["tensor"], {"experts": True, "rslora": True}])
def test_faster_adapter_on_experts_gives_peft_loss_and_gradients(kind, where):
    plain, fast = (with_recipe_lora(model_of(kind).train(), **where) for _ in range(2))
    assert lora_experts.speed_up(fast) > 0
    one, other = plain(input_ids=IDS, labels=IDS).loss, fast(input_ids=IDS, labels=IDS).loss
    one.backward(), other.backward()
    assert float(other) == pytest.approx(float(one), rel=RELATIVE)
    assert worst_difference(gradients_of(fast), gradients_of(plain)) < RELATIVE


def gradients_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}


def test_faster_adapter_steps_aside_where_it_is_off_or_merged():
    fast = with_recipe_lora(model_of("qwen3_moe"), experts=True).eval()
    lora_experts.speed_up(fast)
    with torch.no_grad():
        adapted = fast(input_ids=IDS).logits
        with fast.disable_adapter():
            assert torch.equal(fast(input_ids=IDS).logits, model_of("qwen3_moe")(input_ids=IDS).logits)
        merged = copy.deepcopy(fast).merge_and_unload()
        torch.testing.assert_close(merged(input_ids=IDS).logits, adapted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["granitemoe", "mixtral", "olmoe", "qwen3_moe"])
def test_shared_beginnings_change_nothing_under_adapters_on_experts(kind):
    def make(way: str) -> torch.nn.Module:
        made = with_recipe_lora(tiny_model(kind, way), experts=True)
        lora_experts.speed_up(made)
        return made

    loss, gradients = compare(kind, make, rows())
    assert loss < RELATIVE
    assert gradients < RELATIVE


def test_packed_rows_of_a_mixture_are_rows_alone():
    packed, alone = (with_recipe_lora(tiny_model("qwen3_moe", way), experts=True) for way in (attention.NAME, "sdpa"))
    one = loss_and_gradients(packed, forward_of(packed), [plant(rows(8), share=False)])
    other = loss_and_gradients(alone, forward_of(alone, "padded"), [plant([row]) for row in rows(8)])
    assert one[0] == pytest.approx(other[0], rel=RELATIVE)
    assert worst_difference(one[1], other[1]) < RELATIVE


def test_names_that_peft_takes_for_the_experts_are_known():
    """Against PEFT itself, for all that Transformers knows."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    named = ["q_proj", "gate", "gate_proj", "up_proj", "down_proj", "w1", "w2", "w3"]
    for kind in CONFIG_MAPPING_NAMES:
        config, model = LoraConfig(target_modules=named), SimpleNamespace(config=SimpleNamespace(model_type=kind))
        convert_peft_config_for_transformers(config, model, None)
        assert set(named) - set(config.target_modules) == _taken_for_experts(kind), kind


@pytest.mark.parametrize("kind", sorted(AUX_LOSS_COEF))
def test_weight_of_the_balancing_loss_is_the_configurations_default(kind):
    assert AutoConfig.for_model(kind).router_aux_loss_coef == AUX_LOSS_COEF[kind]


def test_weight_of_the_balancing_loss_is_the_recipes_then_the_models():
    assert coefficient(None, {"model_type": "olmoe"}) == 0.01
    assert coefficient(None, {"model_type": "olmoe", "router_aux_loss_coef": 0.5}) == 0.5
    assert coefficient(0.0, {"model_type": "olmoe", "router_aux_loss_coef": 0.5}) == 0.0
    assert coefficient(0.2, {"model_type": "deepseek_v3"}) == 0.0
