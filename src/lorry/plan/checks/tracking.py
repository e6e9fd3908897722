"""Tracking: whether the trackers and the addresses that the recipe names can be told anything from here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar, cast

from lorry import plugins
from lorry.errors import InputError
from lorry.plan.checks._base import Check
from lorry.plan.findings import Explanation, Finding, note, refusal

if TYPE_CHECKING:
    from lorry.plan.subject import Subject
    from lorry.recipe.schema import AlertSettings
    from lorry.track.sinks._base import Sink


class TrackingCheck(Check):
    """Whether the trackers' packages and keys are here, and the variables with the addresses of alerts. Sends nothing."""

    explains: ClassVar[Mapping[str, Explanation]] = {
        "tracking.sink": Explanation(
            "A tracker that the recipe names lacks its package or its key.",
            "The run could not be followed there.",
            "Install or set what the finding names, or leave the tracker out.",
        ),
        "tracking.address": Explanation(
            "An address for alerts is not set, or has no form that Apprise knows.",
            "Nobody would be told.",
            "Set the variable to an address of Apprise, as appriseit.com/services shows them.",
        ),
        "tracking.nobody": Explanation(
            "Progress is to be told, and no address is given.",
            "Nobody is told.",
            "Set `track.alerts.to`, or leave `progress_hours` out.",
        ),
    }

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
