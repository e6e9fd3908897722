"""What is expected of a run on the machine that trains it, and what its first steps make of that; pure."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from lorry.plan.cost import Duration
from lorry.plan.ranges import Range
from lorry.track.folder import RunFolder

FIRST = 20
"""Steps after which a run compares itself with its plan."""
WARMING = 2
"""Of these, the first ones, in which caches fill and kernels are chosen: they tell nothing of the rest."""


@dataclass(frozen=True)
class Expected:
    """What a run should take on one machine, and what that was reckoned from."""

    device: str
    """The GPU's name, or the processor's with its cores."""
    numbers: str
    """What products are computed in: `bfloat16`, `float32`; `nf4` or `int8` with quantised weights."""
    parameters: int
    """Those that a token meets."""
    tokens_at_once: float
    """Tokens that an average micro-batch computes."""
    micro_batch: int
    """Rows at once, on the memory rung that fits."""
    tokens: float
    """Of all rows, over all passes."""
    flops: float
    """Of all steps."""
    duration: Duration
    memory: dict[str, int]
    """Bytes by part, at the peak."""

    @property
    def total(self) -> Range:
        """Seconds from the start to the tested adapter."""
        return self.duration.total

    @property
    def slowest(self) -> float:
        """Tokens a second of rows, if all goes as slowly as may be."""
        return self.tokens / self.duration.training.high if self.duration.training.high else 0.0

    def as_json(self) -> dict[str, Any]:
        """For `plan.json`."""
        return asdict(self)


def from_json(found: Any) -> Expected | None:
    """What `as_json` gave; None for anything else, such as the plan of a run of an older lorry."""
    try:
        return _ADAPTER.validate_python(found)
    except ValidationError:
        return None


_ADAPTER = TypeAdapter(Expected)


def of_run(folder: RunFolder) -> Expected | None:
    """What was expected of a run; None where there was no estimate."""
    try:
        return from_json(json.loads(folder.plan.read_text(encoding="utf-8"))["expected"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


@dataclass(frozen=True)
class SoFar:
    """What a run has come to after its first steps; times in seconds, tokens of rows."""

    elapsed: float
    """Since it began, loading with it."""
    timed: float
    """Of the steps that are looked at."""
    timed_tokens: int
    left_tokens: int
    """Of the steps to come."""
    evaluations: tuple[float, ...] = ()
    """What each of those that were made has taken."""
    evaluations_left: int = 0


def outlook(expected: Expected, so_far: SoFar) -> float:
    """Seconds that the whole run will take: its own pace for the steps that are left, the plan's for what was not seen yet.

    What was not seen takes as much longer than planned, or less, as the steps did.
    """
    planned = expected.duration
    pace = so_far.timed / so_far.timed_tokens
    slower = pace * expected.tokens / planned.training.likely if planned.training.likely else 1.0
    if so_far.evaluations:
        evaluating = so_far.evaluations_left * sum(so_far.evaluations) / len(so_far.evaluations)
    else:
        evaluating = slower * planned.evaluation.likely
    return so_far.elapsed + pace * so_far.left_tokens + evaluating + slower * planned.scoring.likely
