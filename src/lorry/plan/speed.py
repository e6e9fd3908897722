"""How long a run takes on a device: from floating-point operations and bytes, and an efficiency that is measured.

LoRA computes about 4 N operations a token, N the parameters that a token meets (`ModelShape.active_parameters`): 2 N forward
and 2 N for the gradients of activations; frozen weights get none. Training all weights takes 6 N, computing activations twice
2 N more. Attention adds 12 times the width of all heads for each token that a token sees (PaLM, arXiv 2204.02311, appendix
B), of which LoRA needs all. A step cannot be faster than its weights are read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lorry.plan.cost import Duration
from lorry.plan.memory import BYTES, Setup
from lorry.plan.ranges import ZERO, Range

if TYPE_CHECKING:
    from lorry.plan.architecture.model_shape import ModelShape
    from lorry.plan.batches import Tokens

PUBLISHED = Range(0.22, 0.34, 0.45)
"""Share of a GPU's dense rate that LoRA reaches, by 4 N: torchtune's Llama-3.2-3B at 8,210 tokens/s on an A100 is 0.34."""
ON_CPU = Range(0.2, 0.35, 0.5)
"""The same of what a processor's matrix products reach (lorry's own runs of SmolLM2-135M on two cores)."""
UNPACKING = 0.64
"""Speed with NF4 weights as a share of that with bf16 ones (LitGPT, Llama-2-7B on an A100: 1.56 times slower)."""
LAUNCHES = Range(0.4e-3, 0.8e-3, 1.6e-3)
"""Seconds that a GPU waits for Python in each layer of a forward and backward pass; hidden where layers compute longer."""
_NETWORK = Range(40e6, 120e6, 400e6)
"""Bytes a second that a model comes down with."""
_BOOT = Range(60.0, 180.0, 480.0)
"""Seconds from asking for a rented machine to its first line: image, packages."""
_READING = Range(0.3e9, 1.0e9, 2.5e9)
"""Bytes a second that weights are loaded with."""


@dataclass(frozen=True)
class Device:
    """What computes."""

    rate: float
    """FLOP/s of dense products in the precision of the run."""
    bandwidth: float
    """Bytes a second of its memory."""
    efficiency: Range
    """Share of the rate that training reaches."""
    is_gpu: bool = True
    is_rented: bool = False


def training_flops(shape: ModelShape, setup: Setup, tokens: Tokens) -> float:
    """Floating-point operations of all steps."""
    passes = 6 if setup.lora is None else 4
    passes += 2 if setup.checkpointing else 0
    seen = 12 * shape.layers * shape.heads * shape.head_dim * tokens.context
    head = shape.vocabulary * shape.hidden
    # The output layer computes trained tokens alone.
    return (
        passes * ((shape.active_parameters - head) * tokens.computed + head * tokens.trained) + seen * tokens.computed
    )


def training_seconds(shape: ModelShape, setup: Setup, tokens: Tokens, device: Device) -> Range:
    """Seconds of all steps."""
    unpacking = UNPACKING if setup.quantization != "none" else 1.0
    flops = training_flops(shape, setup, tokens)
    computing = _per(flops, device.efficiency * (device.rate * unpacking))
    if not device.is_gpu:
        return computing
    read = 3 * shape.active_parameters * BYTES[setup.weights] * tokens.micro_batches / device.bandwidth
    waiting = LAUNCHES * (shape.layers * tokens.micro_batches)
    return Range(*(max(pair) for pair in zip(_values(computing + read), _values(waiting), strict=True)))


def duration(
    shape: ModelShape, setup: Setup, tokens: Tokens, device: Device, scoring: Scoring, *, at_hand: bool
) -> Duration:
    """Every phase of a run; `at_hand` says that the model is on the machine already."""
    size = shape.parameters * BYTES[setup.weights]
    return Duration(
        setup=_BOOT if device.is_rented else Range(5.0, 10.0, 25.0),
        download=ZERO if at_hand else _per(size, _NETWORK),
        loading=_per(size, _READING),
        training=training_seconds(shape, setup, tokens, device),
        evaluation=_evaluation(shape, setup, tokens, device, scoring),
        saving=Range(0.05, 0.3, 2.0) * scoring.saves,
    )


@dataclass(frozen=True)
class Scoring:
    """What is evaluated and saved besides."""

    evaluations: int
    """During training, over all evaluation rows."""
    loss_tokens: int
    """Tokens whose loss is taken at the end, by base model and adapter each."""
    answers: int
    """Made at the end, by base model and adapter each."""
    answers_at_once: int
    answer_tokens: int
    """The most that one answer may have."""
    saves: int


def _evaluation(shape: ModelShape, setup: Setup, tokens: Tokens, device: Device, scoring: Scoring) -> Range:
    forward = 2.0 * shape.active_parameters
    passes = forward * (scoring.evaluations * tokens.eval_tokens + 2 * scoring.loss_tokens)
    batches = -(-scoring.answers // max(scoring.answers_at_once, 1))
    # Answers end where they end: as long as half of what is allowed is likely.
    steps = Range(0.1, 0.4, 1.0) * (2 * batches * scoring.answer_tokens)
    one = max(
        shape.active_parameters * BYTES[setup.weights] / device.bandwidth,
        forward * scoring.answers_at_once / (device.rate * device.efficiency.likely),
    )
    waiting = LAUNCHES.likely * shape.layers / 2 if device.is_gpu else 0.0
    return _per(passes, device.efficiency * device.rate) + steps * (one + waiting)


def _per(amount: float, rate: Range) -> Range:
    """Seconds for an amount; low where the rate is high."""
    return Range(amount / rate.high, amount / rate.likely, amount / rate.low)


def _values(span: Range) -> tuple[float, float, float]:
    return span.low, span.likely, span.high
