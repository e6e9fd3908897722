"""How good past estimates were: what was planned of runs that have ended, and what they took."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from lorry.plan.expected import of_run
from lorry.plan.ranges import Range
from lorry.track.events import read
from lorry.trainer.supervise.spent import seconds_spent

if TYPE_CHECKING:
    from lorry.track.folder import RunFolder


@dataclass(frozen=True)
class Estimated:
    """One run that went to its end as it was planned: seconds, and bytes of memory."""

    run: str
    device: str
    planned: Range
    forecast: float | None
    """What it said itself after its first steps; None for one that was too short for that."""
    took: float

    @property
    def error(self) -> float:
        """How far the plan was off, as a share of what it took: below 0 where it took longer."""
        return self.planned.likely / self.took - 1

    @property
    def forecast_error(self) -> float | None:
        """The same of the forecast."""
        return None if self.forecast is None else self.forecast / self.took - 1

    @property
    def is_within(self) -> bool:
        """Whether it took what the plan said that it would take at the least and at the most."""
        return self.planned.low <= self.took <= self.planned.high


@dataclass(frozen=True)
class Accuracy:
    """Of several runs."""

    runs: int
    within: int
    """Runs that took what was planned, between low and high."""
    error: float
    """The median distance of plans, as a share."""
    forecast_error: float | None
    """The median distance of what runs said after their first steps."""


def estimated(folder: RunFolder) -> Estimated | None:
    """What was planned of a run and what it took; None where there was no estimate, or it did not end as planned.

    Only runs of one attempt count: what a crash costs is no fault of an estimate.
    """
    expected = of_run(folder)
    events = [event for event in read(folder.events) if event.kind not in ("step", "scoring")]
    kinds = {event.kind for event in events}
    was_cut = kinds & {"limit", "early_stop"} or any(event.attempt > 1 for event in events)
    took = seconds_spent(folder, events)
    if expected is None or "finished" not in kinds or was_cut or not took:
        return None
    said = [float(event.data["seconds"]) for event in events if event.kind == "forecast"]
    return Estimated(folder.id, expected.device, expected.total, said[0] if said else None, took)


def accuracy(runs: Iterable[Estimated]) -> Accuracy | None:
    """Of all these runs; None where there are none."""
    found = list(runs)
    if not found:
        return None
    said = [abs(one.forecast_error) for one in found if one.forecast_error is not None]
    return Accuracy(
        runs=len(found),
        within=sum(one.is_within for one in found),
        error=_middle([abs(one.error) for one in found]),
        forecast_error=_middle(said) if said else None,
    )


def _middle(values: Sequence[float]) -> float:
    return float(median(values))
