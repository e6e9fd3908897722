"""The states of all random number generators as tensors and plain numbers, and back."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch

Generators = tuple[dict[str, torch.Tensor], dict[str, Any]]
"""The states of all generators: tensors, and what fits into JSON."""


def capture() -> Generators:
    """States of Python's, NumPy's, torch's and each CUDA device's generator."""
    version, numbers, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    tensors = {
        "python": torch.tensor(numbers, dtype=torch.int64),
        "numpy": torch.from_numpy(np.asarray(keys, dtype=np.int64)),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        tensors |= {f"cuda.{device}": state for device, state in enumerate(torch.cuda.get_rng_state_all())}
    plain = {
        "python": {"version": version, "gauss": gauss},
        "numpy": {"name": name, "position": position, "has_gauss": has_gauss, "cached": cached},
    }
    return tensors, plain


def restore(tensors: dict[str, torch.Tensor], plain: dict[str, Any]) -> None:
    """Puts the generators back. States of CUDA devices that are not here are left aside."""
    python, numpy = plain["python"], plain["numpy"]
    random.setstate((python["version"], tuple(tensors["python"].tolist()), python["gauss"]))
    keys = tensors["numpy"].numpy().astype(np.uint32)
    state = (numpy["name"], keys, numpy["position"], numpy["has_gauss"], numpy["cached"])
    np.random.set_state(state)
    torch.set_rng_state(tensors["torch"])
    for device in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        if f"cuda.{device}" in tensors:
            torch.cuda.set_rng_state(tensors[f"cuda.{device}"], device)
