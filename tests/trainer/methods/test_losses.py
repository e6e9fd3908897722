"""Losses of preference methods against plain references, and how they are cut into micro-batches and forests."""

from __future__ import annotations

import math
from threading import Lock
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import log_softmax

from lorry.data.examples import Example, Kind
from lorry.errors import InputError
from lorry.plugins import make
from lorry.trainer import attention
from lorry.trainer.methods._base import Method
from lorry.trainer.methods._pairs import with_context
from tiny_models import REWARD_LORA, tiny_model, tiny_reward_model, with_lora, worst_difference
from tiny_preferences import answers, forest, loss_and_gradients, pairs, policy

CASES: dict[str, tuple[dict[str, Any], list[Example]]] = {
    "dpo": ({"name": "dpo", "beta": 0.4, "label_smoothing": 0.1}, pairs()),
    "ipo": ({"name": "dpo", "loss_type": "ipo"}, pairs()),
    "hinge": ({"name": "dpo", "loss_type": "hinge", "beta": 0.4}, pairs()),
    "orpo": (
        {"name": "orpo", "beta": 0.4},
        [with_context(one) if one.kind is Kind.CHOSEN else one for one in pairs()],
    ),
    "simpo": ({"name": "simpo", "beta": 1.5, "margin": 0.3}, pairs()),
    "reward": ({"name": "reward", "center": 0.1}, pairs()),
    "kto": (
        {"name": "kto", "beta": 0.4, "bad_weight": 1.3},
        answers([Kind.GOOD, Kind.STRANGE, Kind.BAD, Kind.STRANGE, Kind.GOOD, Kind.STRANGE]),
    ),
}


def method(case: str) -> Method:
    return make("methods", CASES[case][0])  # type: ignore[return-value]


def log_probs(model: Any, examples: list[Example]) -> list[np.ndarray[Any, Any]]:
    """Of each answer's tokens, row by row, straight from the model's logits."""
    found: list[np.ndarray[Any, Any]] = []
    with torch.no_grad():
        for one in examples:
            ids = torch.from_numpy(one.ids.astype(np.int64))
            logs = log_softmax(model(input_ids=ids[None]).logits[0].double(), dim=-1)
            places = np.flatnonzero(one.trained if one.context is None else one.trained & ~one.context)
            found.append(logs[places - 1, ids[places]].numpy())
    return found


def logistic(x: float) -> float:
    return -math.log1p(math.exp(-x))


def test_dpo_with_smoothing_is_mitchells_formula():
    model = with_lora(tiny_model("llama", attention.NAME), fast=True)
    examples = CASES["dpo"][1]
    now = log_probs(model, examples)
    with model.disable_adapter():
        before = log_probs(model, examples)
    gains = [float(one.sum() - other.sum()) for one, other in zip(now, before, strict=True)]
    margins = [0.4 * (good - bad) for good, bad in zip(gains[::2], gains[1::2], strict=True)]
    expected = -sum(0.9 * logistic(margin) + 0.1 * logistic(-margin) for margin in margins) / len(margins)
    found, _, told = loss_and_gradients(method("dpo"), policy(model), [forest(examples)])
    assert math.isclose(found, expected, rel_tol=1e-5)
    assert math.isclose(told["reward_margin"], sum(margins) / len(margins), rel_tol=1e-4)
    assert math.isclose(told["reward_accuracy"], sum(margin > 0 for margin in margins) / len(margins))


def test_simpo_is_the_papers_formula():
    model = with_lora(tiny_model("llama", attention.NAME), fast=True)
    examples = CASES["simpo"][1]
    means = [float(one.mean()) for one in log_probs(model, examples)]
    margins = [1.5 * (good - bad) - 0.3 for good, bad in zip(means[::2], means[1::2], strict=True)]
    expected = -sum(map(logistic, margins)) / len(margins)
    found, _, _ = loss_and_gradients(method("simpo"), policy(model), [forest(examples)])
    assert math.isclose(found, expected, rel_tol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_step_in_micro_batches_and_without_sharing_is_the_same_step(case):
    scores = method(case).head == "score"
    model = with_lora(tiny_reward_model("llama", attention.NAME), fast=True, **REWARD_LORA) if scores else None
    held = policy(model or with_lora(tiny_model("llama", attention.NAME), fast=True))
    chosen, examples = method(case), CASES[case][1]
    looked_at = [one for one in examples if one.kind in chosen.looks_at]
    trained = [one for one in examples if one.kind not in chosen.looks_at]
    per_unit = 2 if len(trained) == len(examples) else 1
    whole = loss_and_gradients(chosen, held, [forest(trained)], [forest(looked_at)] if looked_at else [])
    cut = [trained[at : at + per_unit] for at in range(0, len(trained), per_unit)]
    parts = loss_and_gradients(
        chosen,
        held,
        [forest(part, share=False) for part in cut],
        [forest([one], share=False) for one in looked_at],
    )
    assert math.isclose(parts[0], whole[0], rel_tol=1e-5)
    assert worst_difference(parts[1], whole[1]) < 1e-4
    assert parts[2] == pytest.approx(whole[2], rel=1e-4, abs=1e-6)


def test_pairs_compute_their_prompt_once():
    examples = pairs()
    assert forest(examples).is_shared
    assert forest(examples).tokens < 0.75 * forest(examples, share=False).tokens


def test_reference_has_no_part_in_the_gradients_and_changes_nothing():
    model = with_lora(tiny_model("llama", attention.NAME), fast=True)
    held = policy(model, is_continued=True)
    before = [weight.detach().clone() for weight in held.loaded.trained_parameters()]
    with torch.no_grad():
        for weight in held.loaded.trained_parameters():
            weight.mul_(3)
    batch = forest(pairs())
    asked = held.reference_log_probs(batch)
    assert not asked.requires_grad
    assert not torch.equal(asked, held.log_probs(batch).detach())
    with torch.no_grad():
        for weight, first in zip(held.loaded.trained_parameters(), before, strict=True):
            assert torch.equal(weight, 3 * first)
            weight.copy_(first)
    assert torch.equal(asked, held.log_probs(batch).detach()), "it is what the model said at the beginning"


def test_autocast_does_not_go_on_with_the_weights_of_the_reference():
    model = tiny_model("llama", attention.NAME)  # all weights are trained, in fp32, and computed with in 16 bits
    held, batch = policy(model, is_full=True), forest(pairs())
    with torch.no_grad():
        for weight in held.loaded.trained_parameters():
            weight.mul_(1.5)
    with torch.autocast("cpu", torch.bfloat16):
        before = held.reference_log_probs(batch)
        now = held.log_probs(batch).detach()
    with torch.autocast("cpu", torch.bfloat16):
        alone = held.log_probs(batch).detach()
    assert torch.equal(now, alone)
    assert not torch.equal(now, before)


def test_nobody_may_save_while_the_reference_stands_in():
    held, batch = policy(with_lora(tiny_model("llama", attention.NAME)), is_continued=True), forest(pairs())
    held.changing = changing = Lock()
    seen: list[bool] = []
    log_probs = held.loaded.forward.head

    def head(hidden: torch.Tensor) -> torch.Tensor:
        seen.append(changing.locked())
        return log_probs(hidden)

    held.loaded.forward.head = head
    held.reference_log_probs(batch)
    assert seen
    assert all(seen)
    assert not changing.locked()


def test_reference_draws_no_dropout():
    model = with_lora(tiny_model("llama", attention.NAME), lora_dropout=0.5).train()
    held, batch = policy(model, is_continued=True), forest(pairs(), share=False)
    assert torch.equal(held.reference_log_probs(batch), held.reference_log_probs(batch))
    assert model.training
    assert not torch.equal(held.log_probs(batch).detach(), held.log_probs(batch).detach())


def test_setting_that_a_loss_would_not_read_is_refused():
    with pytest.raises(InputError, match="label_smoothing"):
        make("methods", {"name": "dpo", "loss_type": "ipo", "label_smoothing": 0.1})
