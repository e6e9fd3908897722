"""Tracking: whether the trackers and the addresses that the recipe names can be told anything from here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, ClassVar, cast
from urllib.parse import urlsplit

from lorry import plugins
from lorry.errors import InputError
from lorry.network import answer_of
from lorry.plan.checks._base import Check
from lorry.plan.findings import Explanation, Finding, note, refusal, warning

if TYPE_CHECKING:
    from lorry.plan.subject import Subject
    from lorry.track.sinks._base import Sink

_PATIENCE = 4.0
"""Seconds that a service has to answer."""
_WEBHOOKS = {"json": "http", "jsons": "https", "xml": "http", "xmls": "https", "form": "http", "forms": "https"}
"""Schemes of addresses for servers of one's own, and what they speak."""


class TrackingCheck(Check):
    """Whether trackers have their packages and keys, and whether they and the addresses of alerts answer."""

    explains: ClassVar[Mapping[str, Explanation]] = {
        "tracking.sink": Explanation(
            "A tracker that the recipe names lacks its package or its key.",
            "The run could not be followed there.",
            "Install or set what the finding names, or leave the tracker out.",
        ),
        "tracking.key-refused": Explanation(
            "A tracker's service does not accept the key that is set.",
            "The run could not be followed there.",
            "Copy the key anew from the service, and set it as the finding says.",
        ),
        "tracking.unreachable": Explanation(
            "A tracker, or the server of an address for alerts, does not answer from here.",
            "The run goes on without it, and tells it later what it missed.",
            "Check the address and the network, or use the tracker's offline mode.",
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
        """Asks services whether they are there and take the key, all at once, and waits some seconds at most."""
        track = subject.recipe.track
        sinks = [cast("Sink", plugins.make("sinks", chosen)) for chosen in track.sinks]
        questions = [partial(_sink, sink) for sink in sinks] + [
            partial(_address, address) for address in track.alerts.to
        ]
        if questions:
            with ThreadPoolExecutor(len(questions)) as pool:
                for found in pool.map(lambda ask: list(ask()), questions):
                    yield from found
        if track.alerts.progress_hours is not None and not track.alerts.to:
            yield note("tracking.nobody", "progress is told to nobody: no address is given", place="track.alerts.to")


def _sink(sink: Sink) -> Iterable[Finding]:
    place = "track.sinks"
    if why := sink.unavailable():
        message, _, remedy = why.partition(": ")
        yield refusal("tracking.sink", f"{sink.name}: {message}", remedy=remedy, place=place)
        return
    try:
        why = sink.refused(_PATIENCE)
        address = sink.address()
        if why is None and address is not None:
            answer_of(address, seconds=_PATIENCE)
    except OSError as error:
        yield _unreachable(sink.name, str(sink.address()), error, place)
        return
    if why:
        message, _, remedy = why.partition(": ")
        yield refusal("tracking.key-refused", f"{sink.name}: {message}", remedy=remedy, place=place)


def _address(written: str) -> Iterable[Finding]:
    from lorry.track.alert_sender import apprise_for, resolved

    place = "track.alerts.to"
    try:
        apprise_for(written)
    except InputError as error:
        yield refusal("tracking.address", error.message, remedy=error.hint, place=place)
        return
    server = _server(resolved(written) or "")
    if server is None:
        return
    try:
        answer_of(server, seconds=_PATIENCE)
    except OSError as error:
        yield _unreachable("alerts", server if written == resolved(written) else written, error, place)


def _server(address: str) -> str | None:
    """The HTTP server behind the address of a webhook; None for other services, which are not asked."""
    parts = urlsplit(address)
    scheme = _WEBHOOKS.get(parts.scheme.lower())
    host = parts.netloc.rpartition("@")[2]
    return f"{scheme}://{host}/" if scheme and host else None


def _unreachable(what: str, address: str, error: OSError, place: str) -> Finding:
    reason = getattr(error, "reason", error)
    return warning(
        "tracking.unreachable",
        f"{what}: {address} does not answer from here ({reason})",
        evidence="the run goes on without it, and tells it later what it missed",
        remedy="check the address and the network; a proxy is taken from HTTPS_PROXY",
        place=place,
    )
