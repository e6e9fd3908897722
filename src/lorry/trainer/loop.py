"""The native training loop: one for all methods, built to be cut off anywhere and to go on as if nothing had happened.

    run
      _begin                  from nothing or from a checkpoint; tries the longest batch
      _surviving_divergence   returns to the last good checkpoint, once
        _surviving_oom        goes one memory rung down and computes the step again
          _step               gradients, optimizer
      _after_step             evaluation, checkpoint, reasons to end

What a step does depends on its number, the rows left out, the weights, the states of optimizer and generators, and the
memory rung. All of them stand in a checkpoint, so a step that was cut off is computed again from its start and gives
the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lorry.data.images.picture import Placed
from lorry.errors import RunFailedError
from lorry.trainer import checkpoint, hardware, memory, stopping, watched
from lorry.trainer.forecast import OverrunError
from lorry.trainer.ladder import Rung, Where, next_rung
from lorry.trainer.limits import Limits
from lorry.trainer.offenders import offenders
from lorry.trainer.saving import rng
from lorry.trainer.saving.saver import Place, Saver
from lorry.trainer.saving.snapshot import Copies, Standing, restore, rollout_in
from lorry.trainer.saving.state import Skip, State
from lorry.trainer.step import Step
from lorry.trainer.training import Outcome, Training

SMALLEST_SCALE = 1e-4
"""Of the loss in fp16. The scale is halved whenever gradients overflow; below this all of them do (fairseq's bound)."""


_NO_NUMBERS = "lower `train.learning_rate`, or set `model.precision: fp32`"


class _DivergedError(Exception):
    """A step whose gradients must not be applied."""

    def __init__(self, reason: str, step: Step) -> None:
        super().__init__(reason)
        self.reason = reason
        self.step = step


class Loop:
    """One training, from where it stands to its end."""

    def __init__(self, training: Training) -> None:
        self.training = training
        settings = training.recipe.train
        self.eval_every = settings.eval_every or max(1, math.ceil(self.steps / 4))
        self.save_every = settings.save_every or self.eval_every
        self.diverge_at = 0.0 if training.stepper.method.can_vanish else settings.diverge_at
        self.rung = training.origin.rung
        self.state = State(skipped=training.skipped)
        self.is_half_applied = False
        """Whether an optimizer step began to change the weights and did not come to its end."""
        self.peaks: list[int] = []
        self.began = training.clock()
        self.copies = Copies(training.live, training.checkpoints)
        self.best_by = watched.best_by(training.recipe)
        place = Place(training.checkpoints, settings, self.best_by, training.events, training.clock)
        self.generators = rng.capture()
        self.saver = Saver(place, self.copies, self._standing)
        training.stepper.policy.changing = self.saver.changing
        self.limits = Limits(
            recipe=training.recipe,
            events=training.events,
            stops_by=watched.stops_by(training.recipe),
            seconds=lambda: training.seconds_before + training.clock() - self.began,
            scoring=training.forecast.scoring,
            was_told=training.was_warned,
        )
        training.stepper.beat = self._beat
        if training.stepper.rollouts is not None:
            training.stepper.rollouts.beat = lambda phase: self._beat(self.state.step, phase)
        if training.asker is not None:
            training.asker.lowered = self._answer_fewer
        training.held_back.lowered = self._answer_fewer
        training.held_back.beat = lambda phase: training.events.beat(phase, self.state.step)

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        return self.training.stepper.order.steps

    def run(self) -> Outcome:
        """Trains to the last step or to a limit; every checkpoint kept is whole.

        Raises RunFailedError when the loss diverges again after a return, or memory does not suffice on any rung.
        """
        ended = self._begin()
        while not ended:
            ended = self._surviving_divergence()
        self.saver.save()
        self.saver.drain()
        checkpoint.mark(self.training.checkpoints, "final", self.state.step)
        state = self.state
        self.training.events.append(
            "trained", step=state.step, steps=state.step, seconds=state.seconds, tokens=state.tokens
        )
        return Outcome(state.step, self.best_by.best_first(state.scores), self.rung, self.peaks)

    def _begin(self) -> bool:
        """Puts a checkpoint back or tries the longest batch; says whether training has ended already."""
        training = self.training
        training.live.loaded.model.train()
        self._use(self.rung)
        (training.checkpoints / "final").unlink(missing_ok=True)
        if training.begin_from is not None:
            self._return_to(training.begin_from)
            training.events.append("resumed", from_step=self.state.step, path=str(training.begin_from))
        elif self.steps:
            self._surviving_oom("training", lambda: training.stepper.try_heaviest(self.rung))
        self.copies.make_room()
        training.events.append("started", steps=self.steps, from_step=self.state.step)
        return self._after_step() if self.state.step else False

    def _surviving_divergence(self) -> bool:
        """One step and what follows it; where the loss diverges, back to the last good checkpoint without those rows."""
        try:
            began = self.training.clock()
            done = self._surviving_oom("training", self._step)
            seconds = self.training.clock() - began
            self.training.forecast.saw(done, seconds, self.training.stepper.order.passes)
            self._record(done, seconds)
            return self._after_step()
        except _DivergedError as error:
            diverged = error
        self._leave_out(diverged)
        return False

    def _surviving_oom(self, where: Where, action: Callable[[], Any]) -> Any:
        """What the action gives; where memory runs out it is done again one rung down."""
        while True:
            try:
                return action()
            except Exception as error:
                if not memory.is_out_of_memory(error):
                    raise
                told = memory.told(error)
            # Only here, with the traceback gone, nothing holds the tensors of what failed any more.
            self.training.stepper.forget_gradients()
            memory.release()
            self._go_down(where, told)
            self._put_back()

    def _put_back(self) -> None:
        """Everything as it stood after the last step, for what failed is done again."""
        rng.restore(*self.generators)
        if not self.is_half_applied:
            return
        self.saver.drain()
        saved = checkpoint.newest(self.training.checkpoints, self._reject)
        if saved is None:
            hint = "set `train.micro_batch` lower, or `train.optimizer: adamw_8bit`"
            raise RunFailedError(
                "memory ran out while the weights were changed, before the first checkpoint", hint=hint
            )
        self._return_to(saved)
        self.is_half_applied = False
        self.training.events.append("resumed", from_step=self.state.step, path=str(saved))
        self.training.events.append("started", steps=self.steps, from_step=self.state.step)

    def _reject(self, place: Path, reason: str) -> None:
        self.training.events.append("rejected", path=str(place), reason=reason)

    def _step(self) -> Step:
        """One optimizer step. What a checkpoint holds changes in one go, so that none is ever saved half-way."""
        began = self.training.clock()
        number = self.state.step + 1
        step = self.training.stepper.gradients(number, self.rung, self.state.left_out(number))
        self._must_be_sound(step)
        with self.saver.changing:
            self.is_half_applied = True
            self.training.stepper.apply(step)
            self.is_half_applied = False
            self.saver.applied()
            seconds = self.training.clock() - began
            loss = step.loss if step.rows else None
            short = self.training.stepper.order.short_after(number)
            self.state = self.state.after_step(loss, tokens=step.taken_tokens, seconds=seconds, short=short)
            self.generators = rng.capture()
        return step

    def _must_be_sound(self, step: Step) -> None:
        reason = stopping.divergence(step.loss, self.state.recent, self.diverge_at)
        scaler = self.training.live.scaler
        if reason is None and not scaler.is_enabled() and not math.isfinite(step.grad_norm):
            reason = "the gradients are not numbers"
        if reason is not None:
            raise _DivergedError(reason, step)
        if scaler.is_enabled() and scaler.get_scale() < SMALLEST_SCALE:
            told = f"gradients are not numbers in fp16, however little the loss is scaled, at step {self.state.step}"
            raise RunFailedError(told, hint=_NO_NUMBERS)

    def _after_step(self) -> bool:
        """Evaluates and saves where it is due; says whether training has ended."""
        self.saver.check()
        step = self.state.step
        ended = step >= self.steps or self.limits.budget_is_used_up(self.state, self.steps)
        if (
            (ended or step % self.eval_every == 0)
            and step not in self.state.scores
            and not self.training.held_back.is_empty
        ):
            self._evaluate()
        ended = self.limits.patience_is_out(self.state, self.steps) or ended
        is_best = self.best_by.is_best(step, self.state.scores)
        if ended or step % self.save_every == 0 or is_best or self.saver.is_due:
            self._must_be_numbers()
            self.saver.save()
        if not ended:
            self._hold_to_plan()
        return ended

    def _hold_to_plan(self) -> None:
        """Says once what the whole run will take; ends it where that passes the budget and nobody can be asked."""
        training, state = self.training, self.state
        left = 0 if training.held_back.is_empty else -(-self.steps // self.eval_every) - state.step // self.eval_every
        told = training.forecast.say(training.stepper.order, state, self.limits.seconds(), left)
        if told is None:
            return
        self._must_be_numbers()
        self.saver.save()
        self.saver.drain()
        raise OverrunError(f"stopped after step {state.step}: {told}")

    def _evaluate(self) -> None:
        """Scores the evaluation rows, and answers to some of them where the recipe asks for that."""
        training, began, step = self.training, self.training.clock(), self.state.step
        training.events.beat("evaluating", step)
        scores = dict(self._surviving_oom("evaluating", lambda: training.held_back.scores(self.rung)))
        answered = self._surviving_oom("generating", lambda: training.held_back.answered(self.rung))
        scores = {**answered, **scores}
        for fault in training.held_back.faults:
            training.events.append("warning", step=step, message=fault)
        with self.saver.changing:
            seconds = training.clock() - began
            self.state = self.state.evaluated(scores, seconds)
            self.generators = rng.capture()
        training.forecast.evaluated(seconds)
        training.events.append("evaluated", step=step, seconds=seconds, **scores)
        training.events.beat("training", step)

    def _record(self, step: Step, seconds: float) -> None:
        """Writes the record of a step; `seconds` is what it took."""
        number = self.state.step
        if not step.rows:
            told = "nothing was trained: all of its rows are left out"
            self.training.events.append("note", step=number, message=told)
            return
        if number > 1 and number < self.steps and number % self.training.recipe.train.log_every:
            return
        device = self.training.live.loaded.device
        self.peaks.append(hardware.peak_memory(device))
        self.training.events.append(
            "step",
            step=number,
            loss=step.loss,
            learning_rate=step.learning_rate,
            grad_norm=step.grad_norm if math.isfinite(step.grad_norm) else None,  # JSON has no word for it
            trained_tokens=step.trained_tokens,
            computed_tokens=step.computed_tokens,
            tokens_per_second=step.row_tokens / seconds,
            memory_bytes=self.peaks[-1],
            utilisation=hardware.utilisation(device),
            **step.told,
        )

    def _go_down(self, where: Where, told: str) -> None:
        loaded = self.training.live.loaded
        lower = next_rung(where, self.rung, can_checkpoint=loaded.can_checkpoint_activations)
        self.training.events.append("oom", step=self.state.step, where=where, error=told)
        if lower is None:
            raise self._nothing_fits(where)
        self._use(lower)

    def _answer_fewer(self, size: int, told: str) -> None:
        """Memory ran out while answers were made: those that are made stay, and so many at once come from now on."""
        self.training.events.append("oom", step=self.state.step, where="generating", error=told)
        self._use(replace(self.rung, generation_batch=size))

    def _use(self, rung: Rung) -> None:
        self.rung = rung
        loaded = self.training.live.loaded
        if rung.activation_checkpointing and loaded.can_checkpoint_activations:
            loaded.checkpoint_activations()
        self.training.events.append("rung", step=self.state.step, **rung.as_dict())

    def _nothing_fits(self, where: Where) -> RunFailedError:
        """The end of the ladder, with what would fit, tried out."""
        told = f"out of memory while {where}, even with {self.rung.told()}"
        if where != "training":
            return RunFailedError(told, hint="set evaluate.rows lower, or data.max_length")
        stepper = self.training.stepper
        images = stepper.longest_images()
        length, least = int(stepper.order.lengths.max()) // 2, max([8, *(one.end for one in images)])
        while length >= least and not stepper.fits(length):
            length //= 2
        if length < least:
            hint = "take a smaller model, or `model.quantization: nf4`, or a larger machine"
            return RunFailedError(told, hint=f"{_fewer(images)}{hint}")
        return RunFailedError(told, hint=f"rows of {length} tokens fit here: set `data.max_length: {length}`")

    def _return_to(self, folder: Path) -> None:
        with self.saver.changing:
            before = self.state
            state = restore(folder, self.training.live)
            more = tuple(skip for skip in before.skipped if skip not in state.skipped)
            # A signal may have saved a step before it was evaluated.
            scores = {step: score for step, score in before.scores.items() if step <= state.step}
            self.state = replace(state, skipped=(*state.skipped, *more), scores={**scores, **state.scores})
            stepper = self.training.stepper
            stepper.order = replace(stepper.order, short=state.short)
            if stepper.rollouts is not None:
                stepper.rollouts.put_back(*rollout_in(folder))
            self.generators = rng.capture()

    def _beat(self, step: int, phase: str = "training") -> None:
        """Says that something moves; once this process leaves, nothing needs to move any more."""
        self.saver.give_way()
        self.training.events.beat(phase, step)

    def _standing(self) -> Standing:
        """Called before anything is saved. Raises RunFailedError while the weights are half changed."""
        if self.is_half_applied:
            raise RunFailedError("memory ran out while the weights were changed")
        rollouts, origin = self.training.stepper.rollouts, replace(self.training.origin, rung=self.rung)
        if rollouts is None:
            return Standing(self.state, origin, self.generators)
        goes_on, carried = rollouts.standing(self.state.step, self.training.stepper.order)
        return Standing(self.state, origin, self.generators, goes_on, carried)

    def _leave_out(self, diverged: _DivergedError) -> None:
        """Goes back, once, to go on without the rows that made the loss diverge. Raises RunFailedError the second time."""
        training, step = self.training, self.state.step + 1
        rows = offenders(training.stepper, diverged.step, self.state.recent, self.diverge_at)
        names = [str(training.stepper.examples.origin(row)) for row in rows]
        told = f"{diverged.reason} at step {step}"
        again = bool(self.state.skipped)
        self.saver.drain()
        saved = None if again else checkpoint.newest(training.checkpoints, self._reject)
        back = None if again else (checkpoint.step_of(saved) if saved else self.state.step)
        training.events.append("diverged", step=step, reason=told, rows=names, indices=list(rows), return_to=back)
        if again:
            raise RunFailedError(f"{told}, and it did before those rows were left out", hint=_NO_NUMBERS)
        if saved:
            self._return_to(saved)
        elif training.stepper.rollouts is not None:
            training.stepper.rollouts.begin_anew()
        self.state = replace(self.state, skipped=(Skip(step, rows),))

    def _must_be_numbers(self) -> None:
        """A checkpoint of weights that are no numbers would be of no use, and end all hope of a return."""
        if not all(bool(parameter.isfinite().all()) for parameter in self.training.stepper.parameters):
            told = f"the trained weights are not numbers after step {self.state.step}"
            raise RunFailedError(told, hint=_NO_NUMBERS)


def _fewer(images: Sequence[Placed]) -> str:
    """The beginning of a hint on how rows with these images become shorter: no one is ever cut."""
    if not images:
        return ""
    by_size = any(one.grid[0] for one in images)  # others have as many tokens whatever their size
    return "set `data.max_pixels` lower, or " if by_size else "show fewer images in a row, or "
