"""Tracking: whether the trackers and the addresses that the recipe names can be told anything from here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

from lorry import plugins
from lorry.errors import InputError
from lorry.plan.checks._base import Check
from lorry.plan.findings import Finding, note, refusal

if TYPE_CHECKING:
    from lorry.plan.subject import Subject
    from lorry.recipe.schema import AlertSettings
    from lorry.track.sinks._base import Sink


class TrackingCheck(Check):
    """Whether the trackers' packages and keys are here, and the variables with the addresses of alerts. Sends nothing."""

    def run(self, subject: Subject) -> Iterable[Finding]:
        """Looks without asking any service."""
        for chosen in subject.recipe.track.sinks:
            sink = cast("Sink", plugins.make("sinks", chosen))
            why = sink.unavailable()
            if why:
                message, _, remedy = why.partition(": ")
                yield refusal("tracking.sink", f"{sink.name}: {message}", remedy=remedy, place="track.sinks")
        yield from _alerts(subject.recipe.track.alerts)


def _alerts(alerts: AlertSettings) -> Iterable[Finding]:
    from lorry.track.alert_sender import apprise_for

    for address in alerts.to:
        try:
            apprise_for(address)
        except InputError as error:
            yield refusal("tracking.address", error.message, remedy=error.hint, place="track.alerts.to")
    if alerts.progress_hours is not None and not alerts.to:
        yield note("tracking.nobody", "progress is told to nobody: no address is given", place="track.alerts.to")
