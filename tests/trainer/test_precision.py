from __future__ import annotations

import pytest

from lorry.trainer.precision import decide


@pytest.mark.parametrize(
    ("wanted", "checkpoint", "device", "bf16", "weights", "scaled"),
    [
        ("auto", "bfloat16", "cuda", True, "bfloat16", False),
        ("auto", "float32", "cuda", True, "float32", False),
        ("auto", "float16", "cuda", True, "bfloat16", False),
        ("auto", "bfloat16", "cuda", False, "float16", True),  # T4, V100
        ("auto", "bfloat16", "cpu", True, "bfloat16", False),
        ("auto", "bfloat16", "cpu", False, "float32", False),
        ("fp16", "bfloat16", "cuda", True, "float16", True),
        ("fp32", "bfloat16", "cuda", True, "float32", False),
    ],
)
def test_precision_follows_checkpoint_and_hardware(wanted, checkpoint, device, bf16, weights, scaled):
    found = decide(wanted, checkpoint, device=device, has_bf16=bf16)
    assert (found.weights, found.autocast, found.scaled) == (weights, None, scaled)
    assert found.why


def test_full_fine_tuning_keeps_weights_in_fp32_and_computes_in_less():
    found = decide("auto", "bfloat16", device="cuda", has_bf16=True, full=True)
    assert (found.weights, found.autocast, found.scaled) == ("float32", "bfloat16", False)
    assert decide("fp16", "float16", device="cuda", has_bf16=False, full=True).scaled
