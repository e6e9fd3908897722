"""One optimizer step: gradients of its micro-batches, divided by the step's trained tokens, clipped and applied."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from accelerate import Accelerator

from lorry.data.examples import Example, ExampleSet
from lorry.data.images.picture import Placed
from lorry.recipe.schema import TrainSettings
from lorry.trainer.forest import Forest, plant
from lorry.trainer.ladder import Rung
from lorry.trainer.methods._base import Method, Share, Sums, Whole
from lorry.trainer.order import Order
from lorry.trainer.policy import Policy
from lorry.trainer.rollouts.collect import Rollouts
from lorry.trainer.routers import Balance, Load, together
from lorry.trainer.saving import rng
from lorry.trainer.schedule import learning_rate


@dataclass(frozen=True)
class Step:
    """What one optimizer step does."""

    loss: float
    """Of the method; a mean over the step's trained tokens in nats, or over its pairs."""
    learning_rate: float
    grad_norm: float
    """L2 norm of all gradients before clipping."""
    rows: tuple[int, ...]
    trained_tokens: int
    row_tokens: int
    computed_tokens: int
    taken_tokens: int
    """Tokens of the rows as plans count them: of prompts, where the model answers them itself, each once."""
    told: Mapping[str, float] = field(default_factory=dict[str, float])
    """Further means that the method tells."""


@dataclass
class Stepper:
    """Computes the steps of an order.

    Gradients depend on the step, the rows left out, the weights and the rung; what they change, on the optimizer's and the
    scaler's state too. All of that a checkpoint holds.
    """

    policy: Policy
    method: Method
    order: Order
    examples: ExampleSet
    optimizer: torch.optim.Optimizer
    scaler: torch.GradScaler
    train: TrainSettings
    rollouts: Rollouts | None = None
    """Where the model answers its rows by itself."""
    beat: Callable[[int], None] = field(default=lambda _step: None)
    """Called with the step before each micro-batch."""

    def __post_init__(self) -> None:
        """Looks once at what does not change."""
        self.loaded = self.policy.loaded
        self.parameters = self.loaded.trained_parameters()
        self._accelerator = Accelerator(cpu=self.loaded.device.type == "cpu")
        self._share = self.train.share_prefixes and self.loaded.forward.shares and not self.loaded.drops

    def gradients(self, step: int, rung: Rung, left_out: frozenset[int]) -> Step:
        """Computes the clipped gradients of a step from its start; whatever gradients there were are dropped."""
        self.forget_gradients()
        parts, forests, looked_at = self._parts(step, rung, left_out)
        whole = self._whole(step, forests, looked_at)
        balance = Balance(self.loaded.forward.routers, self._load(step, parts, forests))
        computed = [*forests, *looked_at]
        loss, told = 0.0, Sums(self.rollouts.told if self.rollouts else {})
        for at, (rows, forest) in enumerate(zip(parts, forests, strict=True)):
            self.beat(step)
            self._look_ahead(forests[at : at + _AHEAD], step)
            torch.manual_seed(_draw_seed(self.train.seed, step, rows))
            share = self._backward(forest, whole, balance)
            loss += float(share.loss.detach())
            told.add(share.told)
        return Step(
            loss=loss,
            learning_rate=learning_rate(step, self.order.steps, self.train),
            grad_norm=self._clip() if parts else 0.0,
            rows=tuple(dict.fromkeys(row for rows in parts for row in rows)),
            trained_tokens=sum(forest.trained_tokens for forest in forests),
            row_tokens=sum(forest.row_tokens for forest in computed),
            computed_tokens=sum(forest.tokens for forest in computed),
            taken_tokens=sum(self.order.tokens_of(step))
            if self.rollouts
            else sum(forest.row_tokens for forest in computed),
            told={**told, **balance.told()},
        )

    def _load(self, step: int, parts: Sequence[list[int]], forests: Sequence[Forest]) -> Load | None:
        """How often a mixture's experts are chosen in the whole step; None where no loss asks, or one pass tells it itself."""
        routers = self.loaded.forward.routers
        if routers is None or not routers.coefficient or len(forests) < 2:
            return None
        loads: list[Load] = []
        for rows, forest in zip(parts, forests, strict=True):
            self.beat(step)
            torch.manual_seed(_draw_seed(self.train.seed, step, rows))
            with torch.no_grad(), self.loaded.computing(), routers.watched(with_gradients=False) as seen:
                self.loaded.forward.hidden(forest)
            loads.append(seen.load())
        return together(loads)

    def _look_ahead(self, forests: Sequence[Forest], step: int) -> None:
        """Has the images of this micro-batch and the next decoded; behind a step's last one, those of the next step's first."""
        eyes = self.loaded.forward.eyes
        if eyes is None or not self.examples.has_images:
            return
        pictures = [picture for forest in forests for picture in forest.images]
        if len(forests) < _AHEAD and step < self.order.steps:
            rows = self.order.micro_batches(step + 1)[0]
            pictures += [one.picture for row in rows for one in self.examples.images(row)]
        eyes.pixels.expect(pictures)

    def _parts(
        self, step: int, rung: Rung, left_out: frozenset[int]
    ) -> tuple[list[list[int]], list[Forest], list[Forest]]:
        """Rows of each micro-batch, the forests that are trained on, and those that are only looked at."""
        if self.rollouts is not None:
            answered = self.rollouts.parts(step, self.order, rung, left_out)
            return [rows for rows, _ in answered], [self._planted(found, rows) for rows, found in answered], []
        cut = replace(self.order, micro_batch=rung.micro_batch)
        parts = [[row for row in rows if row not in left_out] for rows in cut.micro_batches(step)]
        parts = [rows for rows in parts if rows]
        divided = [self._divided(rows) for rows in parts]
        return parts, [forest for forest, _ in divided], [other for _, other in divided if other is not None]

    def _whole(self, step: int, forests: Sequence[Forest], looked_at: Sequence[Forest] = ()) -> Whole:
        """What the method counts and measures over all micro-batches of a step."""
        whole = Sums()
        for forest in forests:
            whole.add(self.method.counts(forest))
        for forest in looked_at:
            self.beat(step)
            with torch.no_grad(), self.loaded.computing(), self.loaded.answering():  # dropout would draw unseeded
                whole.add(self.method.look(self.policy, forest))
        return whole

    def _divided(self, rows: Sequence[int]) -> tuple[Forest, Forest | None]:
        """The forest that is trained on, and the one that is only looked at."""
        trained, looked_at = self.method.divided(self.examples, rows)
        forest = self._planted([self.examples[row] for row in trained], trained)
        return forest, self._planted([self.examples[row] for row in looked_at], looked_at) if looked_at else None

    def forget_gradients(self) -> None:
        """Drops what was computed of a step; the scaler, too, then takes the next one for a new one."""
        self.optimizer.zero_grad(set_to_none=True)
        if self.scaler.is_enabled():
            self.scaler._per_optimizer_states.clear()  # pyright: ignore[reportPrivateUsage] - it has no other way back

    def apply(self, step: Step) -> None:
        """Changes the weights by the gradients, which are gone afterwards."""
        if step.rows:
            for group in self.optimizer.param_groups:
                group["lr"] = step.learning_rate
            self.scaler.step(self.optimizer)
            self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)

    def try_heaviest(self, rung: Rung) -> None:
        """Forward and backward of the micro-batch with most tokens, beside a full optimizer state; changes nothing."""
        if self.rollouts is not None:
            self._try(self.rollouts.heaviest(rung.micro_batch))
            return
        step, part = replace(self.order, micro_batch=rung.micro_batch).heaviest()
        rows = replace(self.order, micro_batch=rung.micro_batch).micro_batches(step)[part]
        self._try([self.examples[row] for row in rows])

    def fits(self, length: int) -> bool:
        """Whether the longest row, cut to so many tokens, can be computed; anything but memory that is wrong is raised."""
        from lorry.trainer import memory

        try:
            self._try(self._cut(length) if self.rollouts is None else self.rollouts.heaviest(1, length))
        except Exception as error:
            if not memory.is_out_of_memory(error):
                raise
        else:
            return True
        memory.release()
        return False

    def longest_images(self) -> tuple[Placed, ...]:
        """The images in what belongs to the longest row, no one of which may be cut."""
        if self.rollouts is not None:
            return ()
        return tuple(one for each in self._longest() for one in each.images)

    def _longest(self) -> list[Example]:
        return self.examples.together([int(self.order.lengths.argmax())])

    def _cut(self, length: int) -> list[Example]:
        """What belongs to the longest row, cut; whichever of its tokens are trained on."""
        return [
            replace(short, trained=short.trained | True, context=None, known=None).without_images()
            for short in (one.up_to(length) for one in self._longest())
        ]

    def _try(self, examples: Sequence[Example]) -> None:
        tensors, plain = rng.capture()
        self.beat(0)
        try:
            # First of all, so that they lie beside the weights and not between activations: the room there stays in one piece.
            self._make_states()
            missing = [] if self.optimizer.state else self.parameters
            filler = [torch.zeros_like(parameter) for parameter in missing for _ in range(_STATES)]
            looked_at = [one for one in examples if one.kind in self.method.looks_at]
            trained = [one for one in examples if one.kind not in self.method.looks_at]
            forest = self._planted(trained, [-1] * len(trained))
            others = [self._planted(looked_at, [-1] * len(looked_at))] if looked_at else []
            whole = {name: one or 1 for name, one in self._whole(0, [forest], others).items()}
            self._backward(forest, whole, Balance(self.loaded.forward.routers))
            del filler
        finally:
            self.forget_gradients()
            rng.restore(tensors, plain)

    def _make_states(self) -> None:
        """Makes all of AdamW's states, so that memory never runs out between two of them, in the middle of a step."""
        if type(self.optimizer) is not torch.optim.AdamW or self.optimizer.state:
            return
        for parameter in self.parameters:
            parameter.grad = torch.zeros_like(parameter)
        for group in self.optimizer.param_groups:
            group["lr"] = 0.0
        try:
            self.optimizer.step()
        except Exception:
            self.optimizer.state.clear()  # half of them would be taken for all
            raise
        for state in self.optimizer.state.values():
            state["step"].zero_()

    def _planted(self, examples: Sequence[Example], rows: Sequence[int]) -> Forest:
        return plant(examples, share=self._share, members=rows)

    def _backward(self, forest: Forest, whole: Whole, balance: Balance) -> Share:
        """Adds one micro-batch's gradients; returns its share."""
        with self.loaded.computing(), balance.watched() as seen:
            share = self.method.loss(self.policy, forest, whole)
        evening = balance.added(seen)
        self._accelerator.backward(self.scaler.scale(share.loss if evening is None else share.loss + evening))
        return share

    def _clip(self) -> float:
        self.scaler.unscale_(self.optimizer)
        return float(torch.nn.utils.clip_grad_norm_(self.parameters, self.train.max_grad_norm or math.inf))


_AHEAD = 2
"""Micro-batches whose images are decoded at a time: the one that is computed and the one behind it."""
_STATES = 2
"""AdamW's two moments for each trained parameter, which the trial must leave room for."""


def _draw_seed(seed: int, step: int, rows: list[int]) -> int:
    """Seed of a micro-batch's random draws: the same whenever the step is computed again."""
    return hash((seed, step, *rows)) & 0x7FFFFFFF
