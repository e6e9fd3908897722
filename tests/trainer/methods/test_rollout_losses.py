"""What PPO and GRPO credit and lose, against plain references."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from lorry.data.examples import Example, Kind
from lorry.errors import InputError
from lorry.plugins import make
from lorry.trainer import attention
from lorry.trainer.forest import plant
from lorry.trainer.methods._rollouts import Answered, FromRollouts
from lorry.trainer.policy import Policy
from tiny_models import tiny_model, with_lora, worst_difference
from tiny_preferences import answers, loss_and_gradients, policy


def method(name: str, **settings: Any) -> FromRollouts:
    return make("methods", {"name": name, "rewards": ["exact_match"], **settings})  # type: ignore[return-value]


def held_with_head() -> Policy:
    held = policy(with_lora(tiny_model("llama", attention.NAME), fast=True))
    held.loaded.add_value_head()
    torch.manual_seed(0)
    for parameter in held.loaded.trained_parameters()[-2:]:
        torch.nn.init.normal_(parameter, std=0.1)
    return held


def credited(held: Policy, examples: list[Example], ppo: FromRollouts) -> list[Example]:
    """Answers as PPO trains on them: drawn by a policy that was a little different."""
    draw = np.random.default_rng(0)
    with torch.no_grad():
        log_probs, values = (one.double().numpy() for one in held.log_probs_and_values(plant(examples)))
    lengths = [int(one.trained.sum()) for one in examples]
    apart = np.cumsum(lengths)[:-1]
    answered = Answered(
        groups=[*range(len(examples))],
        lengths=lengths,
        ended=[True] * len(examples),
        rewards=draw.normal(size=len(examples)),
        before=np.split(log_probs + draw.normal(0, 0.3, len(log_probs)), apart),
        reference=np.split(log_probs + draw.normal(0, 0.3, len(log_probs)), apart),
        values=np.split(values + draw.normal(0, 0.3, len(values)), apart),
    )
    return [replace(one, known=known) for one, known in zip(examples, ppo.credit(answered, {}).known, strict=True)]


def plain_ppo(held: Policy, examples: list[Example]) -> torch.Tensor:
    """PPO's loss with its defaults, token by token as the papers write it."""
    model, head = held.loaded.model, held.loaded.value_head
    assert head is not None
    losses = []
    for one in examples:
        ids = torch.from_numpy(one.ids.astype(np.int64))
        out = model(input_ids=ids[None], output_hidden_states=True)
        logs = torch.log_softmax(out.logits[0], -1)
        for place, at in enumerate(np.flatnonzero(one.trained)):
            known = {name: float(value[place]) for name, value in (one.known or {}).items()}
            ratio = torch.exp(logs[at - 1, ids[at]] - known["before"])
            clipped = torch.clamp(ratio, 0.8, 1.2)
            policy_loss = torch.maximum(-known["advantage"] * ratio, -known["advantage"] * clipped)
            value = head(out.hidden_states[-1][0, at - 1])[0]
            near = torch.clamp(value, known["value"] - 0.2, known["value"] + 0.2)
            worse = torch.maximum((value - known["return"]) ** 2, (near - known["return"]) ** 2)
            losses.append(policy_loss + 0.1 * 0.5 * worse)
    return torch.stack(losses).mean()


def named_gradients(held: Policy) -> dict[str, torch.Tensor]:
    return {
        str(at): one.grad.clone() for at, one in enumerate(held.loaded.trained_parameters()) if one.grad is not None
    }


def test_ppo_loss_and_gradients_are_those_of_the_papers():
    held, ppo = held_with_head(), method("ppo")
    examples = credited(held, answers([Kind.ALONE] * 4), ppo)
    found, _, _ = loss_and_gradients(ppo, held, [plant(examples)])
    got = named_gradients(held)
    for parameter in held.loaded.trained_parameters():
        parameter.grad = None
    expected = plain_ppo(held, examples)
    expected.backward()
    assert found == pytest.approx(expected.item(), rel=1e-5)
    assert worst_difference(got, named_gradients(held)) < 1e-4
    assert len(got) == len(held.loaded.trained_parameters()), "the value head among them"


def test_ppo_pays_for_divergence_and_earns_the_reward_at_the_end():
    ppo = method("ppo", kl_weight=0.5, gae_lambda=1.0)
    answered = Answered(
        groups=[0],
        lengths=[2],
        ended=[True],
        rewards=np.array([3.0]),
        before=[np.array([-1.0, -2.0])],
        reference=[np.array([-1.4, -2.2])],
        values=[np.array([0.0, 0.0])],
    )
    credit = ppo.credit(answered, {})
    # Moved by 0.4 and 0.2 nats: -0.2, then -0.1 + 3.
    assert credit.known[0]["return"] == pytest.approx([2.7, 2.9])
    assert credit.told["kl"] == pytest.approx(0.6)


@pytest.mark.parametrize(("moved", "factor"), [(0.1, 1 - 0.2 * 0.1), (0.55, 1 + 0.1 * 0.1), (9.0, 1 + 0.2 * 0.1)])
def test_price_of_divergence_follows_its_target(moved, factor):
    ppo = method("ppo", target_kl=0.5, kl_horizon=10, kl_weight=0.2)
    one = np.array([0.0])
    answered = Answered([0], [1], [True], one, before=[one + moved], reference=[one], values=[one])
    first = ppo.credit(answered, {})
    assert first.carried["kl_weight"] == pytest.approx(0.2 * factor)
    second = ppo.credit(answered, first.carried)
    assert second.told["kl_weight"] == first.carried["kl_weight"]


def test_price_stays_without_a_target():
    one = np.array([0.0])
    answered = Answered([0], [1], [True], one, before=[one + 9], reference=[one], values=[one])
    assert method("ppo").credit(answered, {}).carried == {"kl_weight": 0.05}


def test_grpo_learns_nothing_from_answers_that_were_cut_off_where_it_shall_not():
    held = policy(with_lora(tiny_model("llama", attention.NAME), fast=True))
    grpo = method("grpo", group_size=2, mask_truncated=True)
    examples = answers([Kind.ALONE, Kind.STRANGE])
    lengths = [int(one.trained.sum()) for one in examples]
    answered = Answered([0, 0], lengths, [True, False], np.array([1.0, 0.0]))
    known = grpo.credit(answered, {}).known
    both = plant([replace(one, known=found) for one, found in zip(examples, known, strict=True)])
    alone = plant([replace(examples[0], known=known[0])])
    found, got, _ = loss_and_gradients(grpo, held, [both])
    expected, wanted, _ = loss_and_gradients(grpo, held, [alone])
    assert found == pytest.approx(expected)
    assert worst_difference(got, wanted) < 1e-5


def test_clipped_tokens_have_no_gradient():
    held, grpo = policy(with_lora(tiny_model("llama", attention.NAME), fast=True)), method("grpo", epochs=2)
    (example,) = answers([Kind.ALONE])
    with torch.no_grad():
        before = held.log_probs(plant([example])).numpy() - 1.0
    known = {"advantage": np.ones(len(before), np.float32), "before": before.astype(np.float32)}
    _, got, told = loss_and_gradients(grpo, held, [plant([replace(example, known=known)])])
    assert told["clipped"] == 1.0
    assert all(not gradient.any() for gradient in got.values())


@pytest.mark.parametrize(
    "settings", [{"rewards": []}, {"group_size": 1}, {"temperature": 0}, {"top_p": 0}, {"clip_range": 0}, {"epochs": 0}]
)
def test_settings_that_mean_nothing_are_refused(settings):
    with pytest.raises(InputError):
        method("grpo", **settings)


def test_rlhf_is_ppo():
    assert type(method("rlhf")).__mro__[1] is type(method("ppo"))
    assert method("rlhf").model_dump() == method("ppo").model_dump()


def test_price_of_divergence_never_becomes_a_reward():
    one = np.array([0.0])
    answered = Answered([0] * 64, [1] * 64, [True] * 64, np.zeros(64), [one] * 64, [one] * 64, [one] * 64)
    assert method("ppo", target_kl=0.5, kl_horizon=1).credit(answered, {}).carried["kl_weight"] == 0.025


def test_equal_rewards_count_as_alike():
    answered = Answered([0] * 6, [1] * 6, [True] * 6, np.full(6, 0.1))
    assert method("grpo", group_size=6).credit(answered, {}).told["groups_alike"] == 1.0
