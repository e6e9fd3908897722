"""Whether training is slower than it should be, and what the likely cause is; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from lorry.trainer.supervise.gpu import Sample

BUSY = 80.0
"""Per cent of utilisation below which a GPU idles."""
SLOW = 0.5
"""Share of the expected speed below which a run is slow."""
_ENOUGH = 5
"""Samples, or steps, that must agree: single ones dip in evaluations and saves."""
FIRST = 20
"""Steps whose median is what the run reaches by itself; as many after them are seen before anything is said."""
_HALF = 0.5
_LOADED = 0.9
_DISTURBING = 0.25


@dataclass(frozen=True)
class Seen:
    """What the agent has seen of a running training."""

    speeds: Sequence[float]
    """Tokens per second of the recorded steps."""
    samples: Sequence[Sample] = ()
    """Of the GPU, one a minute, the newest last."""
    planned: float | None = None
    """Tokens per second that the plan expects at the least; None where it knows none."""
    trainer_cpu: float = 0.0
    """Share of one core that the trainer's busiest thread uses."""
    machine_cpu: float = 0.0
    """Share of all cores that anything uses."""
    other_cpu: float = 0.0
    """Share of all cores that other processes than the trainer use."""


def slow(seen: Seen) -> tuple[str, str] | None:
    """What is slow and why, in words; None where all is well."""
    recent = list(seen.samples)[-_ENOUGH:]
    known = [one.utilisation for one in recent if one.utilisation is not None]
    if len(known) == _ENOUGH and max(known) < BUSY:
        return f"the GPU idles: {median(known):.0f} % busy", _cause(seen, recent)
    own = median(seen.speeds[:FIRST]) if len(seen.speeds) >= 2 * FIRST else 0.0
    expected = max(own, seen.planned or 0.0)
    if expected and len(seen.speeds) >= _ENOUGH:
        now = median(seen.speeds[-_ENOUGH:])
        if now < SLOW * expected:
            return f"{now:,.0f} tokens/s, where {expected:,.0f} were expected", _cause(seen, recent)
    return None


def _cause(seen: Seen, recent: Sequence[Sample]) -> str:
    if any(one.throttled for one in recent):
        return "heat: the GPU lowers its clock; it is badly cooled, or shared"
    if any(one.ecc_errors for one in recent):
        return "memory errors that could not be corrected: the GPU is damaged, take another machine"
    if seen.machine_cpu > _LOADED and seen.other_cpu > _DISTURBING:
        return "other work: every core of this machine is busy"
    if seen.trainer_cpu > _LOADED and recent:
        return "the processor cannot feed the GPU: raise train.micro_batch, or turn data.packing on"
    if recent and all(_is_half_free(one) for one in recent):
        return "too little at once: half of the GPU's memory is free, so raise train.micro_batch"
    return "unknown: look at what else runs on this machine" + (", and at gpu.csv" if recent else "")


def _is_half_free(one: Sample) -> bool:
    if one.memory_used is None or one.memory_total is None:
        return False
    return one.memory_used < _HALF * one.memory_total
