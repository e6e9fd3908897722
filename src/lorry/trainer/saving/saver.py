"""Saves while training goes on: a copy of the training's tensors is taken, and written by another thread.

One lock, `changing`, is held by whoever changes what a checkpoint holds (an optimizer step, an evaluation's scores, a return
to an earlier checkpoint) and by whoever copies it. So a copy can be taken at any time, also in the middle of a running step,
and is always that of the last whole optimizer step: of what forward and backward passes change, generators and gradients,
a checkpoint holds the first as they were after that step, and the second not at all.

A fully trained model is not copied, for that would double what it takes: training waits until it is written.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, RLock, Thread

from lorry.errors import LorryError, RunFailedError
from lorry.recipe.schema import TrainSettings
from lorry.trainer import checkpoint, memory
from lorry.trainer.channel import Reporter
from lorry.trainer.checkpoint import Contents
from lorry.trainer.saving import retention
from lorry.trainer.saving.snapshot import Copies, Standing
from lorry.trainer.saving.state import State
from lorry.trainer.watched import Watched


@dataclass
class Place:
    """Where checkpoints go, which of them stay, and who is told."""

    root: Path
    train: TrainSettings
    best_by: Watched
    events: Reporter
    clock: Callable[[], float] = field(default=time.monotonic)


class Saver:
    """Checkpoints of one training. Safe to use from several threads."""

    def __init__(self, place: Place, copies: Copies, standing: Callable[[], Standing]) -> None:
        """`standing` tells where training stands; it is called with `changing` held."""
        self.changing = RLock()
        self._place = place
        self._copies = copies
        self._standing = standing
        self._writer: Thread | None = None
        self._failure: LorryError | None = None
        self._is_leaving = False
        self._saved_at = place.clock()
        for folder in (place.root, place.root.parent):
            checkpoint.clear_unfinished(folder)

    @property
    def is_due(self) -> bool:
        """Whether `save_minutes` have passed since the last checkpoint."""
        return self._place.clock() - self._saved_at >= 60 * self._place.train.save_minutes

    def save(self) -> None:
        """Saves the step that was just made. Training goes on before it is on disk, where that is safe.

        Raises RunFailedError where this or the checkpoint before could not be written.
        """
        began = self._place.clock()
        with self.changing:
            self.drain()
            standing = self._standing()
            state = standing.state
            if checkpoint.path_of(self._place.root, state.step).exists():
                self._mark_and_prune(state)
                return
            contents = self._copies.take(standing)
            self._saved_at = self._place.clock()
            written = (contents, state, began, self._saved_at - began)
            self._writer = Thread(target=self._write, args=written, name="saver", daemon=True)
            try:
                self._writer.start()
            except RuntimeError:  # no memory for another thread: then here, if more slowly
                self._writer = None
                self._write(*written)
            if not self._copies.copies_all:
                self.drain()

    def save_now(self) -> Path | None:
        """The checkpoint of the last optimizer step, on disk and verified when this returns; None before the first step.

        Waits for no running step, but for the optimizer while it applies one. Raises RunFailedError as `save` does. The
        process is about to end: no step is applied any more.
        """
        self._is_leaving = True
        self.changing.acquire()  # and never given back
        step = self._standing().state.step
        if step == 0:
            return None
        self._forgive()
        self.save()
        self.drain()
        folder = checkpoint.path_of(self._place.root, step)
        checkpoint.verify(folder)
        return folder

    def _forgive(self) -> None:
        """Forgets what failed before: there may be room again, and this is the last chance."""
        if self._writer is not None:
            self._writer.join()
        self._failure = None

    def give_way(self) -> None:
        """Blocks for good once the process is about to end, so that saving gets the processor."""
        if self._is_leaving:
            Event().wait()

    def drain(self) -> None:
        """Waits until everything is on disk. Raises RunFailedError for what could not be written."""
        writer = self._writer
        if writer is not None:
            writer.join()
        self.check()

    def check(self) -> None:
        """Raises RunFailedError where the last checkpoint could not be written; waits for nothing."""
        if self._failure is not None:
            raise self._failure

    def applied(self) -> None:
        """Says that an optimizer step was just given to the device."""
        self._copies.applied()

    def _write(self, contents: Contents, state: State, began: float, pause: float) -> None:
        place = self._place
        try:
            path = checkpoint.write(place.root, contents)
            self._mark_and_prune(state)
        except LorryError as error:
            self._failure = error
        except Exception as error:
            told = "out of memory" if memory.is_out_of_memory(error) else f"{type(error).__name__}: {error}"
            hint = "checkpoints that were written before are whole"
            self._failure = RunFailedError(f"the checkpoint of step {state.step} cannot be written: {told}", hint=hint)
        else:
            seconds = place.clock() - began
            waited = seconds if not self._copies.copies_all else pause
            place.events.append("saved", step=state.step, path=str(path), seconds=seconds, pause=waited)

    def _mark_and_prune(self, state: State) -> None:
        """Marks the best checkpoint and deletes those that are not kept."""
        place = self._place
        saved = checkpoint.steps(place.root)
        ranked = place.best_by.best_first(state.scores)
        best = next((step for step in ranked if step in saved), None)
        if best is not None:
            checkpoint.mark(place.root, "best", best)
        checkpoint.prune(place.root, retention.kept(saved, ranked, last=place.train.keep, best=place.train.keep_best))
