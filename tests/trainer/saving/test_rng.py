from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from lorry.trainer.saving import rng


def draws() -> list[Any]:
    """Numbers from every generator, of every kind that keeps something between two draws."""
    legacy = np.random.random, np.random.standard_normal, np.random.permutation
    return [
        random.random(),
        random.gauss(0, 1),
        random.sample(range(1000), 10),
        legacy[0](),
        legacy[1](3).tolist(),
        legacy[2](100).tolist(),
        torch.rand(3).tolist(),
        torch.randn(5).tolist(),
        torch.randperm(100).tolist(),
        torch.nn.functional.dropout(torch.ones(50), 0.5).tolist(),
    ]


def seed_all(number: int) -> None:
    random.seed(number)
    np.random.seed(number)
    torch.manual_seed(number)


def through_files(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The states as they come out of a checkpoint's files."""
    tensors, plain = rng.capture()
    save_file(tensors, folder / "rng.safetensors")
    (folder / "state.json").write_text(json.dumps(plain))
    return load_file(folder / "rng.safetensors"), json.loads((folder / "state.json").read_text())


@pytest.mark.parametrize("drawn", [0, 1, 2, 3, 700])
def test_draws_are_the_same_to_the_bit_after_a_restore(tmp_path, drawn):
    seed_all(drawn)
    for _ in range(drawn):
        draws()
    states = through_files(tmp_path)
    expected = [draws() for _ in range(5)]
    seed_all(99)
    draws()
    rng.restore(*states)
    assert [draws() for _ in range(5)] == expected


@pytest.mark.parametrize("normals", [1, 2])
def test_second_of_a_pair_of_normal_numbers_is_not_lost(tmp_path, normals):
    seed_all(0)
    for _ in range(normals):
        random.gauss(0, 1)
        np.random.standard_normal()
    states = through_files(tmp_path)
    expected = random.gauss(0, 1), np.random.standard_normal()
    seed_all(1)
    rng.restore(*states)
    assert (random.gauss(0, 1), np.random.standard_normal()) == expected


def test_capture_changes_nothing():
    seed_all(5)
    expected = draws()
    seed_all(5)
    rng.capture()
    assert draws() == expected


def test_captured_states_do_not_follow_later_draws():
    seed_all(5)
    tensors, _ = rng.capture()
    copies = {name: tensor.clone() for name, tensor in tensors.items()}
    for _ in range(1000):
        draws()
    assert all(torch.equal(tensors[name], copies[name]) for name in tensors)


def test_states_of_devices_that_are_not_here_are_left_aside():
    seed_all(5)
    tensors, plain = rng.capture()
    expected = draws()
    rng.restore({**tensors, "cuda.63": torch.zeros(16, dtype=torch.uint8)}, plain)
    assert draws() == expected


@pytest.mark.gpu
def test_draws_of_every_cuda_device_are_the_same_after_a_restore(tmp_path):
    devices = range(torch.cuda.device_count())
    states = through_files(tmp_path)
    expected = [torch.rand(5, device=f"cuda:{device}").tolist() for device in devices]
    torch.cuda.manual_seed_all(9)
    rng.restore(*states)
    assert [torch.rand(5, device=f"cuda:{device}").tolist() for device in devices] == expected
