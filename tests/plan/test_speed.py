from __future__ import annotations

from dataclasses import replace

import pytest

from lorry.plan.architecture.cards import card
from lorry.plan.architecture.model_shape import model_shape
from lorry.plan.batches import Tokens
from lorry.plan.memory import Setup
from lorry.plan.ranges import Range
from lorry.plan.speed import Device, Scoring, Workload, duration, training_seconds
from lorry.recipe.schema import LoraSettings

SHAPE = model_shape(card("Qwen/Qwen2.5-7B")["config"])
LORA = Setup("bfloat16", LoraSettings())
TOKENS = Tokens(
    steps=100, micro_batches=400, rows=1e6, computed=1e6, trained=1e6, context=0.0, eval_tokens=0, taken=1e6
)
SCORING = Scoring(4, 10_000, 100, 16, Range(32, 64, 128), 5_000, 4)
A100 = Device(312e12, 2.0e12, Range(0.2, 0.34, 0.5))


def work(setup: Setup = LORA, tokens: Tokens = TOKENS, shape=SHAPE) -> Workload:
    return Workload(shape, setup, tokens, SCORING)


def test_lora_computes_four_operations_a_parameter_and_token_and_all_weights_six():
    assert work(LORA, TOKENS).training_flops == pytest.approx(4 * SHAPE.active_parameters * 1e6)
    assert work(replace(LORA, lora=None), TOKENS).training_flops == pytest.approx(6 * SHAPE.active_parameters * 1e6)
    twice = replace(LORA, checkpointing=True)
    assert work(twice, TOKENS).training_flops == pytest.approx(6 * SHAPE.active_parameters * 1e6)


def test_output_layer_computes_trained_tokens_alone():
    spared = work(LORA, TOKENS).training_flops - work(LORA, replace(TOKENS, trained=0.0)).training_flops
    assert spared == 4 * SHAPE.vocabulary * SHAPE.hidden * 1e6


def test_published_run_lies_within_the_range():
    """torchtune: Llama-3.2-3B with LoRA on an A100, packed to 4,096 tokens, 8,210 tokens a second."""
    shape = model_shape(card("meta-llama/Llama-3.2-3B")["config"])
    tokens = replace(TOKENS, micro_batches=122, rows=5e5, computed=5e5, trained=5e5, context=2048.0)
    found = training_seconds(work(LORA, tokens, shape), A100)
    assert found.low < 5e5 / 8210 < found.high
    assert found.likely == pytest.approx(5e5 / 8210, rel=0.3)


def test_small_micro_batches_wait_for_weights_and_for_python():
    small = replace(TOKENS, micro_batches=40_000)
    assert training_seconds(work(LORA, small), A100).likely > 2 * training_seconds(work(LORA, TOKENS), A100).likely


def test_quantised_weights_cost_time():
    slow = training_seconds(work(replace(LORA, quantization="nf4"), TOKENS), A100)
    assert slow.likely > 1.3 * training_seconds(work(LORA, TOKENS), A100).likely


def test_answers_at_evaluations_take_time_at_each_of_them():
    silent = replace(SCORING, loss_tokens=0)
    asked = replace(silent, answers_each=silent.answers, prompt_tokens_each=silent.prompt_tokens)
    without, found = (duration(replace(work(), scoring=one), A100, at_hand=True) for one in (silent, asked))
    assert found.scoring == without.scoring
    more = found.evaluation.likely - without.evaluation.likely
    assert more == pytest.approx(4 * without.scoring.likely / 2), "that of one side, four times"


def test_model_at_hand_is_not_fetched_and_a_machine_at_hand_not_booted():
    here = duration(work(), A100, at_hand=True)
    there = duration(work(), replace(A100, is_rented=True), at_hand=False)
    assert here.download.likely == 0
    assert there.download.likely > 60
    assert there.setup.likely > here.setup.likely
    assert there.training == here.training
    assert here.scoring.low < here.scoring.likely < here.scoring.high
