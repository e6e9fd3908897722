"""One batch of preferences through TRL's trainers and through lorry: the same loss, the same gradients (fp32)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from peft import LoraConfig

from lorry.data.examples import Example, Kind
from lorry.trainer import attention
from lorry.trainer.methods._pairs import with_context
from lorry.trainer.methods.dpo import DirectPreferenceOptimisation
from lorry.trainer.methods.kto import KahnemanTverskyOptimisation
from lorry.trainer.methods.orpo import OddsRatioPreferenceOptimisation
from lorry.trainer.methods.reward import RewardModelling
from tiny_models import REWARD_LORA, tiny_reward_model, with_lora, worst_difference
from tiny_preferences import answers, forest, loss_and_gradients, pairs, policy
from trl_yardstick import PLAIN, gradients, policy_like, split, trl_trainer, unused, words

pytest.importorskip("trl", reason="TRL is the yardstick; `make test` installs it")

pytestmark = [pytest.mark.filterwarnings("ignore")]  # of TRL's, about itself


def dpo_columns(examples: Sequence[Example]) -> dict[str, list[list[int]]]:
    chosen, rejected = examples[::2], examples[1::2]
    return {
        "prompt_ids": [split(one)[0] for one in chosen],
        "chosen_ids": [split(one)[1] for one in chosen],
        "rejected_ids": [split(one)[1] for one in rejected],
    }


def batch_of(trainer: Any, columns: dict[str, list[Any]]) -> Any:
    """What the trainer's own collator makes of these rows, given as tokens so that both compute the same ones."""
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return trainer._prepare_inputs(trainer.data_collator(rows))


@pytest.mark.parametrize("continued", [False, True])
@pytest.mark.parametrize("loss_type", ["sigmoid", "ipo", "hinge"])
def test_dpo_gives_trl_loss_and_gradients(loss_type, continued, tmp_path):
    from trl import DPOConfig, DPOTrainer

    examples = pairs()
    config = DPOConfig(str(tmp_path), loss_type=[loss_type], beta=0.3, per_device_train_batch_size=4, **PLAIN)
    rows = unused(prompt="<s>", chosen="<s>", rejected="</s>")
    trainer = trl_trainer(DPOTrainer, config, rows, continued=continued)
    loss = trainer.compute_loss(trainer.model, batch_of(trainer, dpo_columns(examples)))
    expected, wanted = gradients(trainer.model, loss)

    held = policy_like(continued=continued)
    method = DirectPreferenceOptimisation(beta=0.3, loss_type=loss_type)
    found, got, _ = loss_and_gradients(method, held, [forest(examples)])
    assert math.isclose(found, expected, rel_tol=1e-5)
    assert worst_difference(got, wanted) < 1e-4


@pytest.mark.parametrize("bad", [1, 3])
def test_kto_gives_trl_loss_and_gradients(bad, tmp_path):
    from trl import KTOConfig, KTOTrainer

    examples = answers([kind for at in range(4) for kind in (Kind.BAD if at < bad else Kind.GOOD, Kind.STRANGE)])
    own, strange = examples[::2], examples[1::2]
    columns = {
        "prompt_ids": [split(one)[0] for one in own],
        "completion_ids": [split(one)[1] for one in own],
        "KL_completion_ids": [split(one)[1] for one in strange],
        "label": [one.kind is Kind.GOOD for one in own],
    }
    config = KTOConfig(str(tmp_path), beta=0.3, desirable_weight=1.5, per_device_train_batch_size=4, **PLAIN)
    rows = unused(prompt="<s>", completion="</s>", label=True)
    trainer = trl_trainer(KTOTrainer, config, rows)
    expected, wanted = gradients(trainer.model, trainer.compute_loss(trainer.model, batch_of(trainer, columns)))

    held = policy_like()
    method = KahnemanTverskyOptimisation(beta=0.3, good_weight=1.5)
    found, got, _ = loss_and_gradients(method, held, [forest(own)], [forest(strange)])
    assert math.isclose(found, expected, rel_tol=1e-5)
    assert worst_difference(got, wanted) < 1e-4


def orpo_batch(examples: Sequence[Example]) -> dict[str, torch.Tensor]:
    """What ORPOTrainer's collator makes of these pairs."""
    batch: dict[str, torch.Tensor] = {}
    for name, side in (("chosen", examples[::2]), ("rejected", examples[1::2])):
        width = max(len(one.ids) for one in side)
        ids, mask, labels = (torch.full((len(side), width), fill) for fill in (0, 0, -100))
        for line, one in enumerate(side):
            length = len(one.ids)
            ids[line, :length] = torch.from_numpy(one.ids.copy()).long()
            mask[line, :length] = 1
            labels[line, :length] = torch.where(torch.from_numpy(one.trained.copy()), ids[line, :length], -100)
        batch |= {f"{name}_input_ids": ids, f"{name}_attention_mask": mask, f"{name}_labels": labels}
    return batch


def test_orpo_gives_trl_loss_and_gradients(tmp_path):
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

    examples = pairs()
    config = ORPOConfig(str(tmp_path), beta=0.3, **{**PLAIN, "max_length": 64})
    rows = unused(prompt="<s>", chosen="<s>", rejected="</s>")
    trainer = trl_trainer(ORPOTrainer, config, rows)
    loss, _ = trainer.get_batch_loss_metrics(trainer.model, orpo_batch(examples))
    expected, wanted = gradients(trainer.model, loss)

    held = policy_like()
    both = [with_context(one) if one.kind is Kind.CHOSEN else one for one in examples]
    found, got, _ = loss_and_gradients(
        OddsRatioPreferenceOptimisation(beta=0.3),
        held,
        [forest(both)],
    )
    assert math.isclose(found, expected, rel_tol=1e-5)
    assert worst_difference(got, wanted) < 1e-4


@pytest.mark.parametrize("center", [None, 0.05])
def test_reward_gives_trl_loss_and_gradients_of_the_head_too(center, tmp_path):
    from trl import RewardConfig, RewardTrainer

    examples = pairs()
    config = RewardConfig(str(tmp_path), center_rewards_coefficient=center, per_device_train_batch_size=4, **PLAIN)
    rows, peft = unused(chosen_ids=[3], rejected_ids=[4]), LoraConfig(**REWARD_LORA)
    trainer = RewardTrainer(
        model=tiny_reward_model(), args=config, train_dataset=rows, processing_class=words(), peft_config=peft
    )
    adapted = with_lora(tiny_reward_model(), **REWARD_LORA).state_dict()
    with torch.no_grad():
        for name, weight in trainer.model.named_parameters():
            if weight.requires_grad:
                weight.copy_(adapted[name].float())
    both = {"chosen_ids": examples[::2], "rejected_ids": examples[1::2]}
    columns = {name: [one.ids.tolist() for one in side] for name, side in both.items()}
    expected, wanted = gradients(trainer.model, trainer.compute_loss(trainer.model, batch_of(trainer, columns)))

    held = policy(with_lora(tiny_reward_model("llama", attention.NAME), fast=True, **REWARD_LORA))
    found, got, told = loss_and_gradients(RewardModelling(center=center or 0.0), held, [forest(examples)])
    assert math.isclose(found, expected, rel_tol=1e-5)
    assert any("score" in name for name in got)
    assert worst_difference(got, wanted) < 1e-4
    assert math.isclose(told["reward_margin"], trainer._metrics["train"]["margin"][-1], rel_tol=1e-4)
    assert told["reward_accuracy"] == trainer._metrics["train"]["accuracy"][-1]
