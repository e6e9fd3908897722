"""How long a run takes on a device: from floating-point operations and bytes, and an efficiency that is measured.

LoRA computes about 4 N operations a token, N the parameters that a token meets (`ModelShape.active_parameters`): 2 N forward
and 2 N for the gradients of activations; frozen weights get none. Training all weights takes 6 N, computing activations twice
2 N more, and so does asking a reference. Attention adds 12 times the width of all heads for each token that a token sees
(PaLM, arXiv 2204.02311, appendix B), of which LoRA needs all. A step cannot be faster than its weights are read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lorry.plan.cost import Duration
from lorry.plan.memory import BYTES, Setup
from lorry.plan.ranges import ONCE, ZERO, Range
from lorry.plan.vision_memory import sees_in_training

if TYPE_CHECKING:
    from lorry.plan.architecture.model_shape import ModelShape
    from lorry.plan.batches import Tokens

PUBLISHED = Range(0.22, 0.34, 0.45)
"""Share of a GPU's dense rate that LoRA reaches, by 4 N: torchtune's Llama-3.2-3B at 8,210 tokens/s on an A100 is 0.34."""
ON_CPU = Range(0.25, 0.45, 0.75)
"""The same of what a processor's matrix products reach (lorry's own runs of SmolLM2-135M on two cores: 0.3 to 0.6)."""
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
    is_measured: bool = False
    """Whether rate and efficiency are those that runs have reached, NF4's unpacking and the reading of weights with it."""
    scoring: Range = ONCE
    """How many times longer scoring takes than its arithmetic says, as runs have shown."""


@dataclass(frozen=True)
class Scoring:
    """What is evaluated and saved besides training."""

    evaluations: int
    """During training, over all evaluation rows."""
    loss_tokens: int
    """Tokens whose loss is taken at the end, by base model and adapter each."""
    answers: int
    """Made at the end, by base model and adapter each."""
    answers_at_once: int
    answer_tokens: Range
    """Of the longest answer of a batch, at which the batch ends."""
    prompt_tokens: int
    """Of all prompts that are answered at the end."""
    saves: int
    answers_each: int = 0
    """Made at each evaluation during training."""
    prompt_tokens_each: int = 0
    """Of the prompts that are answered there."""


@dataclass(frozen=True)
class Workload:
    """What a run computes, in which way."""

    shape: ModelShape
    setup: Setup
    tokens: Tokens
    scoring: Scoring

    @property
    def training_flops(self) -> float:
        """Floating-point operations of all steps."""
        shape, tokens = self.shape, self.tokens
        passes = 6 if self.setup.lora is None else 4
        passes += 2 if self.setup.checkpointing else 0
        passes += 2 * tokens.asked
        seen = 12 * shape.layers * shape.heads * shape.head_dim * tokens.context
        head = shape.vocabulary * shape.hidden
        # The output layer computes trained tokens alone.
        body = (shape.active_parameters - head) * tokens.computed
        return passes * (body + head * tokens.trained) + seen * tokens.computed + self._seeing_flops

    @property
    def _seeing_flops(self) -> float:
        """Of the vision part: forward alone where nothing of it is trained. What patches see of each other is not counted."""
        vision, tokens, setup = self.shape.vision, self.tokens, self.setup
        if vision is None or not tokens.image_tokens:
            return 0.0
        trained = (4 if setup.lora is not None else 6) + 2 * setup.checkpointing
        passes = (trained if sees_in_training(setup) else 2) + 2 * tokens.asked
        return passes * vision.parameters * tokens.image_tokens * vision.patches_per_token

    @property
    def weights(self) -> float:
        """Bytes that one pass reads."""
        return float(self.shape.active_parameters * BYTES[self.setup.weights])


def training_seconds(work: Workload, device: Device) -> Range:
    """Seconds of all steps."""
    unpacking = UNPACKING if work.setup.quantization != "none" and not device.is_measured else 1.0
    computing = _per(work.training_flops, device.efficiency * (device.rate * unpacking))
    if not device.is_gpu or device.is_measured:
        return computing
    read = 3 * work.weights * work.tokens.micro_batches / device.bandwidth
    waiting = LAUNCHES * (work.shape.layers * work.tokens.micro_batches)
    return Range(*(max(pair) for pair in zip(_values(computing + read), _values(waiting), strict=True)))


def duration(work: Workload, device: Device, *, at_hand: bool) -> Duration:
    """Every phase of a run; `at_hand` says that the model is on the machine already."""
    size = work.shape.parameters * BYTES[work.setup.weights]
    forward, reached = 2.0 * work.shape.active_parameters, device.efficiency * device.rate
    scoring = work.scoring
    return Duration(
        setup=_BOOT if device.is_rented else Range(5.0, 10.0, 25.0),
        download=_per((0.0 if at_hand else size) + (_fetched(work) if device.is_rented else 0.0), _NETWORK),
        loading=_per(size + sum(judge.weights for judge in work.setup.judges), _READING),
        training=training_seconds(work, device) + _rolling_out(work, device),
        evaluation=scoring.evaluations
        * (
            _per(forward * work.tokens.eval_tokens, reached)
            + device.scoring
            * (_per(forward * scoring.prompt_tokens_each, reached) + _answering(work, device, scoring.answers_each))
            + _judging(work, device, scoring.prompt_tokens_each, scoring.answers_each)
        ),
        scoring=device.scoring
        * 2
        * (
            _per(forward * (scoring.loss_tokens + scoring.prompt_tokens), reached)
            + _answering(work, device, scoring.answers)
            + _judging(work, device, scoring.prompt_tokens, scoring.answers)
        ),
        saving=Range(0.05, 0.3, 2.0) * scoring.saves,
    )


def _rolling_out(work: Workload, device: Device) -> Range:
    """Seconds of the answers that training itself has the model make."""
    answers = work.tokens.answers
    if answers is None:
        return ZERO
    forward, reached = 2.0 * work.shape.active_parameters, device.efficiency * device.rate
    one = _of_a_token(work, device, min(answers.count, answers.at_once))
    made = _per(forward * answers.prompt_tokens, reached) + answers.tokens * answers.batches * one
    return made + _judging(work, device, answers.prompt_tokens, answers.count)


def _judging(work: Workload, device: Device, prompt_tokens: float, answers: int) -> Range:
    """Seconds in which models judge so many answers: a forward pass over each with its prompt, whatever they share."""
    rolled = work.tokens.answers
    if rolled is None or not work.setup.judges:
        return ZERO
    tokens = prompt_tokens + answers * rolled.tokens.low
    reached = device.efficiency * device.rate
    return _per(2.0 * tokens * sum(judge.parameters for judge in work.setup.judges), reached)


def _fetched(work: Workload) -> float:
    """Bytes of the models that judge, on a machine that has none of them."""
    return float(sum(judge.fetched for judge in work.setup.judges))


def _answering(work: Workload, device: Device, answers: int) -> Range:
    """Seconds of so many answers of an evaluation."""
    batches = -(-answers // max(work.scoring.answers_at_once, 1))
    return work.scoring.answer_tokens * batches * _of_a_token(work, device, min(answers, work.scoring.answers_at_once))


def _of_a_token(work: Workload, device: Device, at_once: int) -> Range:
    """Seconds of one more token of so many answers: a pass that computes, and that reads all weights."""
    computing = _per(2.0 * work.shape.active_parameters * at_once, device.efficiency * device.rate)
    waiting = LAUNCHES.likely * work.shape.layers / 2 if device.is_gpu else 0.0
    return computing.map(lambda seconds: max(seconds, work.weights / device.bandwidth) + waiting)


def _per(amount: float, rate: Range) -> Range:
    """Seconds for an amount; low where the rate is high."""
    return Range(amount / rate.high, amount / rate.likely, amount / rate.low)


def _values(span: Range) -> tuple[float, float, float]:
    return span.low, span.likely, span.high
