"""The native training loop: one for all methods.

A step takes its micro-batches from the order, plants each as a forest, lets the method make a loss of it, and divides by the
trained tokens of the whole step, so that neither micro-batch size nor accumulation changes what is learned.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from accelerate import Accelerator

from lorry.data.examples import ExampleSet
from lorry.errors import RunFailedError, StoppedError
from lorry.recipe.schema import Recipe
from lorry.track.events import EventLog
from lorry.trainer import checkpoint, hardware
from lorry.trainer.checkpoint import State, TokenizerFiles
from lorry.trainer.forest import Forest, plant
from lorry.trainer.limits import limit_reached
from lorry.trainer.methods._base import Method
from lorry.trainer.model import LoadedModel
from lorry.trainer.optimizer import make_optimizer
from lorry.trainer.order import Order
from lorry.trainer.row_loss import mean_loss, row_losses
from lorry.trainer.schedule import learning_rate

SMALLEST_SCALE = 1e-4
"""Of the loss in fp16. The scale is halved whenever gradients overflow; below this all of them do (fairseq's bound)."""


@dataclass
class Training:
    """Everything that one training run works with."""

    recipe: Recipe
    loaded: LoadedModel
    method: Method
    order: Order
    examples: ExampleSet
    held_back: ExampleSet | None
    """Evaluation rows, scored during training."""
    checkpoints: Path
    tokenizer: TokenizerFiles
    events: EventLog
    should_stop: Callable[[], bool] = field(default=lambda: False)
    clock: Callable[[], float] = field(default=time.monotonic)


@dataclass(frozen=True)
class Outcome:
    """How a training ended: the last step, and the step whose weights were best on the evaluation rows."""

    last: int
    best: int | None
    seconds: float


@dataclass(frozen=True)
class _Step:
    """What one optimizer step did."""

    loss: float
    """Mean over the step's trained tokens, in nats."""
    learning_rate: float
    grad_norm: float
    """L2 norm of all gradients before clipping."""
    trained_tokens: int
    row_tokens: int
    computed_tokens: int


def train(job: Training) -> Outcome:
    """Trains to the last step, a limit, or a stop; every checkpoint kept is whole. Raises RunFailedError when it diverges."""
    return _Loop(job).run()


class _Loop:
    def __init__(self, job: Training) -> None:
        self.job = job
        settings = job.recipe.train
        self.total = job.order.steps
        self.eval_every = settings.eval_every or max(1, math.ceil(self.total / 4))
        self.save_every = settings.save_every or self.eval_every
        self.optimizer, notes = make_optimizer(job.loaded, settings)
        self.accelerator = Accelerator(cpu=job.loaded.device.type == "cpu")
        self.scaler = torch.GradScaler(job.loaded.device.type, enabled=job.loaded.precision.scaled)
        self.parameters = job.loaded.trained_parameters()
        self.drops = job.loaded.drops
        self.state = State(step=0)
        self.best: tuple[float, int] | None = None
        self.began = job.clock()
        for note in notes:
            job.events.append("note", message=note)

    def run(self) -> Outcome:
        job = self.job
        job.loaded.model.train()
        job.events.append("started", steps=self.total)
        for step in range(1, self.total + 1):
            began = job.clock()
            done = self._optimise(step)
            self.state = State(step, self.state.tokens + done.row_tokens)
            ending = self._ending(step)
            if ending or step == 1 or step % job.recipe.train.log_every == 0:
                self._record(done, job.clock() - began)
            self._must_be_finite(done)
            if step % self.eval_every == 0 or ending:
                self._evaluate()
            if step % self.save_every == 0 or ending or self._is_best():
                self._save()
            if ending:
                break
        seconds = job.clock() - self.began
        job.events.append(
            "trained", step=self.state.step, steps=self.state.step, seconds=seconds, tokens=self.state.tokens
        )
        if job.should_stop():
            raise StoppedError(f"stopped after step {self.state.step}; its checkpoint is kept")
        return Outcome(self.state.step, self.best[1] if self.best else None, seconds)

    def _record(self, done: _Step, seconds: float) -> None:
        """Writes the record of the step that was just trained; `seconds` is what it took."""
        device = self.job.loaded.device
        self.job.events.append(
            "step",
            step=self.state.step,
            loss=done.loss,
            learning_rate=done.learning_rate,
            grad_norm=done.grad_norm if math.isfinite(done.grad_norm) else None,  # JSON has no word for it
            trained_tokens=done.trained_tokens,
            computed_tokens=done.computed_tokens,
            tokens_per_second=done.row_tokens / seconds,
            memory_bytes=hardware.peak_memory(device),
            utilisation=hardware.utilisation(device),
        )

    def _must_be_finite(self, done: _Step) -> None:
        if not math.isfinite(done.loss):
            raise self._diverged("the loss is not a number")
        if self.scaler.is_enabled() and self.scaler.get_scale() < SMALLEST_SCALE:
            raise self._diverged("gradients are not numbers in fp16, however little the loss is scaled,")

    def _diverged(self, what: str) -> RunFailedError:
        hint = "lower `train.learning_rate`, or set `model.precision: fp32`"
        return RunFailedError(f"{what} at step {self.state.step}", hint=hint)

    def _optimise(self, step: int) -> _Step:
        """Gradients of all micro-batches of a step, divided by the step's trained tokens, clipped and applied."""
        job = self.job
        rate = learning_rate(step, self.total, job.recipe.train)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        parts = job.order.micro_batches(step)
        share = job.recipe.train.share_prefixes and job.loaded.forward.shares and not self.drops
        forests = [plant([job.examples[row] for row in rows], share=share) for rows in parts]
        trained = sum(forest.trained_tokens for forest in forests)
        total = 0.0
        for rows, forest in zip(parts, forests, strict=True):
            torch.manual_seed(_draw_seed(job.recipe.train.seed, step, rows))
            total += self._backward(forest, trained)
        norm = self._clip_and_apply()
        return _Step(
            loss=total / trained,
            learning_rate=rate,
            grad_norm=norm,
            trained_tokens=trained,
            row_tokens=sum(forest.row_tokens for forest in forests),
            computed_tokens=sum(forest.tokens for forest in forests),
        )

    def _backward(self, forest: Forest, trained: int) -> float:
        """Adds one micro-batch's gradients; returns its summed loss."""
        with self.job.loaded.computing():
            loss = self.job.method.loss(self.job.loaded.forward, forest)
        self.accelerator.backward(self.scaler.scale(loss / trained))
        return float(loss.detach())

    def _clip_and_apply(self) -> float:
        limit = self.job.recipe.train.max_grad_norm or math.inf
        self.scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, limit)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        return float(norm)

    def _evaluate(self) -> None:
        """Scores the evaluation rows; the lowest loss so far marks the best step."""
        job = self.job
        if not job.held_back:
            return
        with job.loaded.answering():
            losses = row_losses(job.loaded, job.held_back, range(len(job.held_back)), _eval_batch(job.recipe))
        loss = mean_loss(losses)
        self.state = replace(self.state, loss=loss)
        if math.isfinite(loss) and (self.best is None or loss < self.best[0]):
            self.best = (loss, self.state.step)
        job.events.append("evaluated", step=self.state.step, loss=loss)

    def _is_best(self) -> bool:
        return self.best is not None and self.best[1] == self.state.step

    def _save(self) -> None:
        began = self.job.clock()
        if not all(bool(parameter.isfinite().all()) for parameter in self.parameters):
            raise self._diverged("the trained weights are not numbers")
        path = checkpoint.save(self.job.checkpoints, self.job.loaded, self.optimizer, self.state, self.job.tokenizer)
        checkpoint.prune(self.job.checkpoints, self.job.recipe.train.keep, self.best[1] if self.best else None)
        seconds = self.job.clock() - began
        self.job.events.append("saved", step=self.state.step, path=str(path), seconds=seconds)

    def _ending(self, step: int) -> bool:
        """Whether this was the last step: all are done, the person stopped, or a limit is reached."""
        if step == self.total or self.job.should_stop():
            return True
        reached = limit_reached(self.job.recipe.budget, self.job.clock() - self.began)
        if reached:
            self.job.events.append("limit", step=step, message=reached)
        return reached is not None


def _draw_seed(seed: int, step: int, rows: list[int]) -> int:
    """Seed of a micro-batch's random draws: the same whenever the step is computed again."""
    return hash((seed, step, *rows)) & 0x7FFFFFFF


def _eval_batch(recipe: Recipe) -> int:
    return max(recipe.train.micro_batch, recipe.evaluate.batch_size)
