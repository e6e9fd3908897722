from __future__ import annotations

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from lorry.trainer.rollouts.rollout import Rollout


def made(known: bool = True) -> Rollout:
    ids = [np.array(one, np.int32) for one in ([1, 2, 3], [1, 2, 4, 5], [9, 9])]
    numbers = [{"advantage": np.array(one, np.float32)} for one in ([0.5], [1.5, 2.5], [])]
    return Rollout(5, [3, 3, 8], ids, [2, 2, 2], numbers if known else [], {"reward": 0.25}, {"kl_weight": 0.1})


@pytest.mark.parametrize("known", [True, False])
def test_rollout_comes_back_from_a_file_as_it_was(known, tmp_path):
    rollout = made(known)
    save_file(rollout.tensors(), tmp_path / "rollout.safetensors")
    back = Rollout.of_tensors(load_file(tmp_path / "rollout.safetensors"), rollout.facts())
    assert (back.first, back.rows, back.asked, back.told, back.carried) == (
        rollout.first,
        rollout.rows,
        rollout.asked,
        rollout.told,
        rollout.carried,
    )
    assert [one.tolist() for one in back.ids] == [one.tolist() for one in rollout.ids]
    if known:
        assert [one["advantage"].tolist() for one in back.known] == [[0.5], [1.5, 2.5], []]


def test_answers_are_trained_on_and_prompts_are_not():
    example = made().example(1)
    assert example.trained.tolist() == [False, False, True, True]
    assert example.known is not None
    assert example.known["advantage"].tolist() == [1.5, 2.5]
    assert made().answered == [1, 2, 0]
