"""One batch of answers through TRL's GRPOTrainer and through lorry: the same loss, the same gradients (fp32)."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from lorry.data.examples import Example, Kind
from lorry.trainer.forest import plant
from lorry.trainer.methods._rollouts import Answered
from lorry.trainer.methods.grpo import GroupRelativePolicyOptimisation
from tiny_models import worst_difference
from tiny_preferences import answers, loss_and_gradients
from trl_yardstick import PLAIN, gradients, policy_like, split, trl_trainer, unused

pytest.importorskip("trl", reason="TRL is the yardstick; `make test` installs it")

pytestmark = [pytest.mark.filterwarnings("ignore")]  # of TRL's, about itself

GROUP, GROUPS = 4, 2


def group_of_answers() -> list[Example]:
    """Answers of several lengths, those to one prompt side by side."""
    follows = [Kind.ALONE, *[Kind.STRANGE] * (GROUP - 1)] * GROUPS
    return [replace(one, kind=Kind.ALONE) for one in answers(follows, seed=5)]


def padded(rows: list[list[int]], *, left: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(map(len, rows))
    ids, mask = torch.zeros(len(rows), width, dtype=torch.long), torch.zeros(len(rows), width, dtype=torch.long)
    for at, row in enumerate(rows):
        place = slice(width - len(row), width) if left else slice(0, len(row))
        ids[at, place], mask[at, place] = torch.tensor(row), 1
    return ids, mask


def near_log_probs(examples: list[Example], seed: int) -> list[np.ndarray[Any, Any]]:
    """Log-probabilities as they might have been, near those of the policy that is trained."""
    held, draw = policy_like(), np.random.default_rng(seed)
    held.temperature = 0.7
    with torch.no_grad():
        found = held.log_probs(plant(examples)).numpy()
    lengths = np.cumsum([int(one.trained.sum()) for one in examples])[:-1]
    return [one + draw.normal(0, 0.3, len(one)) for one in np.split(found, lengths)]


@pytest.mark.parametrize("beta", [0.0, 0.2])
@pytest.mark.parametrize("epochs", [1, 2])
def test_grpo_gives_trl_loss_and_gradients(epochs, beta, tmp_path):
    from trl import GRPOConfig, GRPOTrainer

    examples = group_of_answers()
    prompts, completions = zip(*(split(one) for one in examples), strict=True)
    before, reference = near_log_probs(examples, 1), near_log_probs(examples, 2)
    rewards = np.random.default_rng(3).normal(size=len(examples))
    method = GroupRelativePolicyOptimisation(
        rewards=["exact_match"], group_size=GROUP, epochs=epochs, beta=beta, clip_range=0.2, clip_range_high=0.28
    )
    answered = Answered(
        groups=[at // GROUP for at in range(len(examples))],
        lengths=[len(one) for one in completions],
        ended=[True] * len(examples),
        rewards=rewards,
        before=before if epochs > 1 else (),
        reference=reference if beta else (),
    )
    credit = method.credit(answered, {})

    config = GRPOConfig(
        str(tmp_path),
        num_generations=GROUP,
        per_device_train_batch_size=len(examples),
        beta=beta,
        epsilon=0.2,
        epsilon_high=0.28,
        temperature=0.7,
        **{name: value for name, value in PLAIN.items() if name != "max_length"},
    )
    trainer = trl_trainer(GRPOTrainer, config, unused(prompt="<s>"), reward_funcs=lambda **_: [0.0])
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.train()
    groups = torch.from_numpy(rewards).view(GROUPS, GROUP)
    apart = (groups - groups.mean(1, keepdim=True)) / (groups.std(1, keepdim=True) + 1e-4)
    (prompt_ids, prompt_mask), (ids, mask) = padded([*prompts], left=True), padded([*completions])
    inputs: dict[str, Any] = {
        "prompt_ids": prompt_ids,
        "prompt_mask": prompt_mask,
        "completion_ids": ids,
        "completion_mask": mask,
        "advantages": apart.flatten().float(),
        "num_items_in_batch": mask.sum(),
    }
    if epochs > 1:
        inputs["old_per_token_logps"] = _beside(before, ids)
    if beta:
        inputs["ref_per_token_logps"] = _beside(reference, ids)
    expected, wanted = gradients(trainer.model, trainer.compute_loss(trainer.model, inputs))

    held = policy_like()
    held.temperature = 0.7
    batch = plant([replace(one, known=known) for one, known in zip(examples, credit.known, strict=True)])
    found, got, _ = loss_and_gradients(method, held, [batch])
    assert math.isclose(found, expected, rel_tol=1e-5, abs_tol=1e-7)
    assert worst_difference(got, wanted) < 1e-4


def _beside(rows: list[np.ndarray[Any, Any]], ids: torch.Tensor) -> torch.Tensor:
    made = torch.zeros(ids.shape)
    for at, row in enumerate(rows):
        made[at, : len(row)] = torch.from_numpy(row)
    return made
