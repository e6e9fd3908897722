from __future__ import annotations

import numpy as np
import pytest

from lorry.trainer.rollouts.advantages import generalised, whitened, within_groups


def test_gae_of_three_tokens_by_hand():
    """gamma 0.9, lambda 0.5; d2 = 1 - 0.6 = 0.4, d1 = 0 + 0.9 x 0.6 - 0.4 = 0.14, d0 = 0 + 0.9 x 0.4 - 0.2 = 0.16."""
    advantages, returns = generalised(np.array([0.0, 0.0, 1.0]), np.array([0.2, 0.4, 0.6]), gamma=0.9, lam=0.5)
    assert advantages == pytest.approx([0.16 + 0.45 * (0.14 + 0.45 * 0.4), 0.14 + 0.45 * 0.4, 0.4])
    assert returns == pytest.approx(advantages + np.array([0.2, 0.4, 0.6]))


def test_gae_with_lambda_one_is_what_was_earned_less_what_was_expected():
    rewards, values = np.array([0.3, -0.1, 0.5]), np.array([0.7, 0.2, 0.9])
    advantages, returns = generalised(rewards, values, gamma=1.0, lam=1.0)
    assert returns == pytest.approx([0.7, 0.4, 0.5])
    assert advantages == pytest.approx(np.array([0.7, 0.4, 0.5]) - values)


def test_gae_of_no_token_is_nothing():
    advantages, returns = generalised(np.zeros(0), np.zeros(0), 1.0, 0.95)
    assert len(advantages) == len(returns) == 0


def test_advantages_within_groups_are_of_the_group_alone():
    found = within_groups(np.array([1.0, 3.0, 10.0, 10.0]), [7, 7, 4, 4], scaled=False)
    assert found.tolist() == [-1.0, 1.0, 0.0, 0.0]
    scaled = within_groups(np.array([1.0, 3.0, 10.0, 10.0]), [7, 7, 4, 4], scaled=True)
    assert scaled == pytest.approx([-1 / (2**0.5 + 1e-4), 1 / (2**0.5 + 1e-4), 0, 0])


def test_group_of_one_has_no_advantage():
    assert within_groups(np.array([5.0]), [0], scaled=True).tolist() == [0.0]


def test_whitened_advantages_have_mean_zero_and_variance_one_together():
    parts = whitened([np.array([1.0, 2.0]), np.array([6.0])])
    every = np.concatenate(parts)
    assert [len(one) for one in parts] == [2, 1]
    assert every.mean() == pytest.approx(0)
    assert every.var() == pytest.approx(1)


def test_whitening_a_single_token_gives_a_number():
    assert whitened([np.array([3.0])])[0].tolist() == [0.0]
    assert whitened([]) == []


def test_equal_rewards_have_no_advantage_however_their_mean_is_rounded():
    assert not within_groups(np.full(6, 0.1), [0] * 6, scaled=True).any()
