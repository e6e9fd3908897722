"""What one training works with, and what comes of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from lorry.recipe.schema import Recipe
from lorry.trainer.channel import Reporter
from lorry.trainer.forecast import Forecast
from lorry.trainer.held_back import HeldBack
from lorry.trainer.ladder import Rung
from lorry.trainer.rollouts.collect import Asker
from lorry.trainer.saving.snapshot import Live
from lorry.trainer.saving.state import Origin, Skip
from lorry.trainer.step import Stepper


@dataclass
class Training:
    """Everything that one training run works with."""

    recipe: Recipe
    live: Live
    stepper: Stepper
    held_back: HeldBack
    forecast: Forecast
    checkpoints: Path
    events: Reporter
    origin: Origin
    """What this training belongs to; its rung is the one to begin with."""
    begin_from: Path | None = None
    """A verified checkpoint to continue from; None for the beginning."""
    skipped: tuple[Skip, ...] = ()
    """Rows that earlier attempts found to make the loss diverge."""
    seconds_before: float = 0.0
    """What the run has taken before training began: earlier attempts, and loading."""
    was_warned: bool = False
    """Whether an earlier attempt has said that most of the budget is used."""
    clock: Callable[[], float] = field(default=time.monotonic)

    @property
    def asker(self) -> Asker | None:
        """Who has the model answer and judges that, where the method learns from its own answers."""
        return self.held_back.asker

    def close(self) -> None:
        """Gives back what rewards hold."""
        if self.asker is not None:
            self.asker.jury.close()


@dataclass(frozen=True)
class Outcome:
    """How a training ended: the last step, and which of the evaluated ones were good."""

    last: int
    ranked: list[int]
    """Evaluated steps, the best first."""
    rung: Rung
    peaks: list[int]
    """Most memory in use up to each recorded step, in bytes."""

    def candidates(self, *, best: bool) -> list[int]:
        """Steps whose weights may be delivered, the first choice first: the best evaluated ones and the last, or the last."""
        return list(dict.fromkeys([*self.ranked, self.last])) if best else [self.last]
