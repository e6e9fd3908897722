"""What computes: a card of the catalog at its published rate, or the processor at hand at what it is measured to reach."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import cache

import numpy as np

from lorry.plan.gpus import GpuSpec
from lorry.plan.hardware import Hardware
from lorry.plan.ranges import Range
from lorry.plan.speed import ON_CPU, PUBLISHED, Device
from lorry.plan.speeds import Pace

_SIDE = 1024
_ROUNDS = 10
_BF16_GAIN = 2.3
"""How much faster a processor with bf16 instructions multiplies in them than in fp32 (410 to 174 GFLOP/s, AVX512-BF16)."""
_CPU_BANDWIDTH = 20e9
"""Bytes a second, as two channels of DDR4 give."""


def gpu_device(spec: GpuSpec, *, is_rented: bool) -> Device:
    """A card as its maker describes it."""
    return Device(spec.rate * 1e12, spec.bandwidth * 1e9, PUBLISHED, is_rented=is_rented)


def processor_name(model: str, cores: int) -> str:
    """What a processor's speed is kept under."""
    return f"{model}, {cores} cores"


def processor(hardware: Hardware, *, in_bf16: bool) -> Device:
    """The processor at hand; measures for a tenth of a second what its matrix products reach."""
    gain = _BF16_GAIN if in_bf16 and hardware.cpu_bf16 else 1.0
    return Device(gain * _measured_rate(), _CPU_BANDWIDTH, ON_CPU, is_gpu=False)


def as_reached(device: Device, pace: Pace) -> Device:
    """The device at the speed that runs like the planned one have reached on it."""
    likely = pace.flops.likely
    return replace(
        device,
        rate=likely,
        efficiency=Range(pace.flops.low / likely, 1.0, pace.flops.high / likely),
        is_measured=True,
        scoring=pace.scoring,
    )


@cache
def _measured_rate() -> float:
    """FLOP/s of fp32 products of matrices on all cores: the best of some, for others may compute as well."""
    one = np.random.default_rng(0).random((_SIDE, _SIDE), dtype=np.float32)
    best = 0.0
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        np.matmul(one, one)
        best = max(best, 2 * _SIDE**3 / (time.perf_counter() - began))
    return best
