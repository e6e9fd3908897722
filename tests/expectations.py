"""Builders for tests of plans and what became of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lorry.plan.cost import Duration
from lorry.plan.expected import Expected
from lorry.plan.ranges import Range

_ONE = Expected(
    id="a",
    device="T4",
    numbers="bfloat16",
    parameters=10**9,
    tokens_at_once=1000.0,
    micro_batch=4,
    activation_checkpointing=False,
    tokens=1e6,
    flops=4e15,
    duration=Duration(training=Range(500, 1000, 2000)),
    scoring_factor=1.0,
    evaluations=4,
)


def expected(phases: dict[str, Range] | None = None, **changes: Any) -> Expected:
    """A run of a million tokens that should train for 1,000 seconds; phases are seconds."""
    return replace(_ONE, duration=replace(_ONE.duration, **(phases or {})), **changes)
