"""Each architecture that may share beginnings gives the loss and gradients of the plain computation."""

from __future__ import annotations

import pytest

from lorry.trainer.architectures import PROVEN
from tiny_models import compare, rows, tiny_model, with_lora

RELATIVE = 1e-5


@pytest.mark.parametrize("kind", sorted(PROVEN))
def test_shared_beginnings_give_the_plain_loss_and_gradients(kind):
    # PEFT maps `all-linear` onto fused experts with a warning of its own; attention is what differs here.
    targets = ["q_proj", "v_proj", "o_proj"] if kind in ("mixtral", "qwen3_moe") else "all-linear"
    loss, gradients = compare(kind, lambda way: with_lora(tiny_model(kind, way), target_modules=targets), rows())
    assert loss < RELATIVE
    assert gradients < RELATIVE
