"""The loss that evens a mixture's experts: Transformers' own for one micro-batch, and that of the whole step for several."""

from __future__ import annotations

import importlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from lorry.data.examples import Example
from lorry.recipe.schema import TrainSettings
from lorry.trainer import attention, lora_experts
from lorry.trainer.forest import plant
from lorry.trainer.forward import Forward
from lorry.trainer.ladder import Rung
from lorry.trainer.methods.sft import SupervisedFineTuning
from lorry.trainer.model import LoadedModel
from lorry.trainer.order import Order
from lorry.trainer.policy import Policy
from lorry.trainer.precision import Precision
from lorry.trainer.process import work
from lorry.trainer.routers import Load, Routers, loss, routers_of
from lorry.trainer.step import Step, Stepper
from mixture_runs import mixture_recipe
from tiny_models import forward_of, rows, tiny_model, with_recipe_lora, worst_difference
from tiny_runs import cut_back, events_of, train_here, weights

KINDS = [
    "ernie4_5_moe",
    "flex_olmo",
    "granitemoe",
    "mellum",
    "minimax_m2",
    "mixtral",
    "olmoe",
    "qwen2_moe",
    "qwen3_moe",
]


RECURRENT = {
    **{"linear_num_key_heads": 2, "linear_num_value_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8},
    **{"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16},
    "layer_types": ["linear_attention", "full_attention"],
}
OTHERS = {
    "gpt_oss": {},
    "granitemoeshared": {},
    "minimax": {"num_local_experts": 4, "num_experts_per_tok": 2, "layer_types": ["full_attention"] * 2},
    "phimoe": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen3_5_moe_text": RECURRENT,
    "qwen3_next": RECURRENT,
}
"""Mixtures that compute each row whole."""


def model_of(kind: str) -> torch.nn.Module:
    return tiny_model(kind, "eager" if kind == "gpt_oss" else "sdpa", **OTHERS.get(kind, {})).eval()


def watched(model: torch.nn.Module, way: str) -> Forward:
    return replace(forward_of(model, way), routers=routers_of(model, 0.01))


def balance(forward: Forward, examples: list[Example], *, share: bool) -> float:
    routers = forward.routers
    assert routers is not None
    with routers.watched() as seen:
        forward.hidden(plant(examples, share=share))
    return float(loss(seen.given(), seen.load()).detach())


@torch.no_grad()
def of_transformers(kind: str, examples: list[Example]) -> float:
    """By the model's own function, with a mask for padding."""
    model = model_of(kind)
    width = max(len(one.ids) for one in examples)
    ids, mask = (torch.zeros(len(examples), width, dtype=torch.long) for _ in range(2))
    for row, one in enumerate(examples):
        ids[row, : len(one.ids)], mask[row, : len(one.ids)] = torch.from_numpy(one.ids.astype(np.int64)), 1
    said = model.get_decoder()(input_ids=ids, attention_mask=mask, output_router_logits=True).router_logits
    function = importlib.import_module(type(model).__module__).load_balancing_loss_func
    return float(function(said, said[0].shape[-1], model.config.num_experts_per_tok, mask))


@pytest.mark.parametrize("kind", KINDS)
def test_micro_batch_has_transformers_loss_padded_packed_and_shared(kind):
    wanted, forest = of_transformers(kind, rows()), watched(tiny_model(kind, attention.NAME), "forest")
    assert balance(watched(tiny_model(kind), "padded"), rows(), share=False) == pytest.approx(wanted, rel=1e-5)
    assert balance(forest, rows(), share=False) == pytest.approx(wanted, rel=1e-5)
    assert plant(rows()).is_shared
    assert balance(forest, rows(), share=True) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.filterwarnings("ignore")  # slow reference kernels warn of themselves, gpt-oss of its positions, made short
@pytest.mark.parametrize("kind", OTHERS)
def test_mixtures_that_share_nothing_have_transformers_loss_too(kind):
    assert balance(watched(model_of(kind), "padded"), rows(), share=False) == pytest.approx(
        of_transformers(kind, rows()), rel=1e-5
    )


def test_models_without_such_a_loss_have_no_routers_to_watch():
    assert routers_of(tiny_model("llama"), 0.5) is None
    assert routers_of(tiny_model("deepseek_v3"), 0.5) is None


def test_shared_tokens_count_once_for_each_row():
    forest = plant(rows(6))
    assert forest.uses.sum() == forest.row_tokens
    assert forest.uses.max() == 6
    assert (plant(rows(6), share=False).uses == 1).all()


def test_largest_share_is_that_of_the_busiest_layer():
    load = Load(torch.tensor([[4.0, 4.0, 4.0, 4.0], [12.0, 0.0, 2.0, 2.0]]), 8.0)
    assert load.max_share == 0.75
    assert load.frequency.tolist() == [1.0, 0.25, 0.375, 0.375]


def stepper(coefficient: float | None, micro_batch: int, **how: Any) -> Stepper:
    """Eight rows a step of a mixture whose attention and experts have adapters."""
    model = with_recipe_lora(tiny_model("qwen3_moe", attention.NAME), experts=how.get("experts", True))
    lora_experts.speed_up(model)
    if how.get("checkpointing"):
        model.get_base_model().gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.train()
    forward = replace(forward_of(model), routers=routers_of(model, coefficient))
    loaded = LoadedModel(model, torch.device("cpu"), Precision("float32", None, False, ""), forward, True)
    examples: Any = rows(8)
    lengths = np.asarray([len(one.ids) for one in examples])
    order = Order([[row] for row in range(8)], lengths, micro_batch, 8, 8, seed=0)
    optimizer = torch.optim.AdamW(loaded.trained_parameters())
    train = TrainSettings(max_grad_norm=0.0, micro_batch=micro_batch, accumulation=8 // micro_batch)
    scaler = torch.GradScaler("cpu", enabled=False)
    return Stepper(Policy(loaded), SupervisedFineTuning(), order, examples, optimizer, scaler, train)


def step_of(coefficient: float | None, micro_batch: int, **how: Any) -> tuple[Step, dict[str, torch.Tensor]]:
    made = stepper(coefficient, micro_batch, **how)
    step = made.gradients(1, Rung(micro_batch, 8 // micro_batch, False, 8, 8), frozenset())
    names = made.loaded.model.named_parameters()
    return step, {name: weight.grad for name, weight in names if weight.grad is not None}


@pytest.mark.parametrize("micro_batch", [1, 2, 4])
def test_micro_batches_change_the_step_by_rounding_alone(micro_batch):
    whole, wanted = step_of(5.0, 8)
    cut, found = step_of(5.0, micro_batch)
    assert worst_difference(found, wanted) < 1e-5
    assert cut.loss == pytest.approx(whole.loss, rel=1e-5)
    assert cut.told["router_aux_loss"] == pytest.approx(whole.told["router_aux_loss"], rel=1e-5)
    assert cut.told["router_max_share"] == pytest.approx(whole.told["router_max_share"])


def test_balance_of_each_micro_batch_by_itself_would_be_another_loss():
    """What taking it over the step is worth: micro-batches of one row have other loads than all rows together."""
    forward = watched(tiny_model("qwen3_moe", attention.NAME), "forest")
    alone = [balance(forward, [row], share=False) for row in rows(8)]
    assert abs(sum(alone) / 8 / balance(forward, rows(8), share=False) - 1) > 0.005


def test_step_has_the_gradients_of_loss_and_balance_together():
    _, found = step_of(5.0, 8)
    made = stepper(5.0, 8)
    forward, batch = made.loaded.forward, plant(list(made.examples))
    assert forward.routers is not None
    with forward.routers.watched() as seen:
        answered = made.method.loss(made.policy, batch, {"tokens": batch.trained_tokens}).loss
    (answered + 5.0 * loss(seen.given(), seen.load())).backward()
    wanted = {name: one.grad for name, one in made.loaded.model.named_parameters() if one.grad is not None}
    assert worst_difference(found, wanted) < 1e-5


def test_balance_moves_adapters_though_routers_are_frozen():
    _, without = step_of(0.0, 8, experts=False)
    _, with_it = step_of(5.0, 8, experts=False)
    assert all("self_attn" in name for name in with_it)
    assert worst_difference(with_it, without) > 0.01


def test_none_is_told_without_being_trained_on():
    step, _ = step_of(0.0, 2)
    other, _ = step_of(5.0, 8)
    assert step.told["router_aux_loss"] == pytest.approx(other.told["router_aux_loss"], rel=1e-5)


@pytest.mark.parametrize("micro_batch", [2, 8])
def test_activations_computed_twice_count_once(micro_batch):
    plain, wanted = step_of(5.0, micro_batch)
    twice, found = step_of(5.0, micro_batch, checkpointing=True)
    assert twice.told == plain.told
    assert worst_difference(found, wanted) < 1e-5


def test_passes_without_gradients_are_not_watched():
    routers = Routers(2, 0.1)
    with routers.watched() as seen:
        with torch.no_grad():
            assert not routers.are_watched
        assert routers.are_watched
    assert not routers.are_watched
    assert seen.said == []


# --- whole runs


TRAIN = {"steps": 6, "save_every": 2, "keep": 50, "learning_rate": 0.02, "router_aux_loss_coef": 0.5}


@pytest.mark.parametrize(
    "more",
    [
        {"train": {**TRAIN, "micro_batch": 2, "accumulation": 2}},
        {"train": {**TRAIN, "activation_checkpointing": True, "micro_batch": 2, "accumulation": 2}},
        {"train": {**TRAIN, "micro_batch": 2}, "data": {"packing": True}},
        {"train": TRAIN, "model": {"quantization": "nf4"}},
    ],
    ids=["accumulation", "recomputed", "packed", "quantised"],
)
def test_mixture_with_adapters_on_experts_continues_to_the_bit(tmp_path, more):
    run = train_here(mixture_recipe(tmp_path, lora={"rank": 4, "experts": True}, **more))
    assert events_of(run, "finished"), [event.data for event in events_of(run, "failed")]
    for event in events_of(run, "step"):
        assert 1.9 < event.data["router_aux_loss"] < 8
        assert 0.25 <= event.data["router_max_share"] <= 1
    wanted = weights(run)
    cut_back(run, 2)
    assert work(run.folder.path) == 0
    assert weights(run) == wanted


def test_adapter_on_experts_is_continued(tmp_path):
    values = mixture_recipe(tmp_path, lora={"rank": 4, "experts": True}, train={**TRAIN, "steps": 2})
    first = train_here(values)
    values["model"]["adapter"] = str(first.adapter)
    second = train_here(values)
    assert events_of(second, "finished"), [event.data for event in events_of(second, "failed")]
    assert weights(second) != weights(first)
    assert (second.adapter / "adapter_config.json").read_text() == (first.adapter / "adapter_config.json").read_text()
