"""What it means that a machine stands still, or that training on it failed: pure, from what provider and trainer tell."""

from __future__ import annotations

from collections.abc import Sequence

from lorry.compute.outcomes import Outcome, OutcomeError
from lorry.compute.providers._base import Machine
from lorry.compute.recovery import Phase

_NOT_AS_SOLD = frozenset(
    {
        *("machine.gpu-missing", "machine.gpu-broken", "machine.less-memory"),
        *("machine.disk-full", "machine.not-writable"),
    }
)


def stands_still(machine: Machine | None, phase: Phase) -> OutcomeError | None:
    """Why nothing more comes from a machine, as its provider tells; None where it runs, or will."""
    if machine is None:
        return OutcomeError(Outcome.VANISHED, "the provider has no such machine any more")
    if machine.state in ("stopped", "broken"):
        return OutcomeError(_why_still(machine, phase), machine.why)
    return None


def _why_still(machine: Machine, phase: Phase) -> Outcome:
    """Why a machine stands still."""
    if machine.balance_empty:
        return Outcome.BALANCE_EMPTY
    if machine.preempted:
        return Outcome.PREEMPTED
    if machine.state == "broken":
        return Outcome.IMAGE_BROKEN if phase is Phase.PREPARING else Outcome.HOST_LOST
    return Outcome.STOPPED


def why_failed(faults: Sequence[str]) -> Outcome:
    """Whether a run failed by itself, or for what the trainer found wrong with the machine before it began."""
    if "machine.gpu-uncovered" in faults:
        return Outcome.TORCH_UNFIT
    return Outcome.NOT_AS_SOLD if _NOT_AS_SOLD & set(faults) else Outcome.FAILED
