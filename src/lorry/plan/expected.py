"""What is expected of a run on the machine that trains it, and what its first steps make of that; pure."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from lorry.plan.cost import Duration
from lorry.plan.ranges import Range
from lorry.track.folder import RunFolder

FIRST = 20
"""Steps after which a run compares itself with its plan."""
WARMING = 2
"""Of these, the first ones, in which caches fill and kernels are chosen: they tell nothing of the rest."""


Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class Expected:
    """What a run should take on one machine, and what that was reckoned from."""

    id: str
    """Of chance; what is kept of the run's speed goes by it."""
    device: str
    """The GPU's name, or the processor's with its cores."""
    numbers: str
    """What products are computed in: `bfloat16`, `float32`; `nf4` or `int8` with quantised weights."""
    parameters: Positive
    """Those that a token meets."""
    tokens_at_once: Positive
    """Tokens that an average micro-batch computes."""
    micro_batch: int
    """Rows at once, on the memory rung that fits."""
    activation_checkpointing: bool
    tokens: Positive
    """Of all rows, over all passes."""
    flops: Positive
    """Of all steps."""
    duration: Duration
    scoring_factor: Positive
    """By how much the likely duration of scoring is longer than its arithmetic says, for runs before were."""
    evaluations: int
    """While training."""

    @property
    def total(self) -> Range:
        """Seconds from the start to the tested adapter."""
        return self.duration.total

    @property
    def slowest(self) -> float:
        """Tokens a second of rows, if all goes as slowly as may be."""
        return self.tokens / self.duration.training.high

    def slower(self, pace: float) -> float:
        """How many times longer than likely steps take that need so many seconds for each token of their rows."""
        return pace * self.tokens / self.duration.training.likely

    def as_json(self) -> dict[str, Any]:
        """For `plan.json`."""
        return asdict(self)


def from_json(found: Any) -> Expected | None:
    """What `as_json` gave; None for anything else, such as the plan of a run of an older lorry."""
    try:
        read = _ADAPTER.validate_python(found)
    except (ValidationError, TypeError):
        return None
    return read if read.duration.training.low > 0 and read.duration.total.low > 0 else None


_ADAPTER = TypeAdapter(Expected)


def of_run(folder: RunFolder) -> Expected | None:
    """What was expected of a run, of a rented one on the machine that it was sent to; None where there was no estimate."""
    place = folder.sent_plan if folder.sent_plan.is_file() else folder.plan
    try:
        return from_json(json.loads(place.read_text(encoding="utf-8"))["expected"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


@dataclass(frozen=True)
class SoFar:
    """What a run has come to after its first steps; times in seconds, tokens of rows."""

    elapsed: float
    """Since it began, loading with it."""
    pace: float
    """For each token of a step."""
    left_tokens: int
    """Of the steps to come."""
    evaluations: tuple[float, ...] = ()
    """What each of those that were made has taken."""
    evaluations_left: int = 0


def outlook(expected: Expected, so_far: SoFar) -> float:
    """Seconds that the whole run will take: its own pace for the steps that are left, the plan's for what was not seen yet.

    What was not seen takes as much longer than planned, or less, as the steps did.
    """
    slower = expected.slower(so_far.pace)
    if so_far.evaluations:
        evaluation = sum(so_far.evaluations) / len(so_far.evaluations)
    else:
        evaluation = slower * expected.duration.evaluation.likely / max(expected.evaluations, 1)
    left = so_far.pace * so_far.left_tokens + so_far.evaluations_left * evaluation
    return so_far.elapsed + left + slower * expected.duration.scoring.likely
