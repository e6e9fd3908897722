"""Sends alerts to one address through Apprise, which knows Slack, mail, webhooks and a hundred other services."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, cast

from lorry.errors import InputError, LorryError
from lorry.recipe.alert_address import variable
from lorry.recipe.schema import AlertSettings
from lorry.secrets.found import secret
from lorry.track.alerts import Alert, Seen, alert_for, summary_of
from lorry.track.events import Event
from lorry.track.sinks._base import Memory, RunFacts, Session

STALE = 3600.0
"""Seconds after which a message that could not be sent is old news: such messages go out together, as one."""

_MOST_MISSED = 50
"""Messages of which an address that cannot be reached is told later; of more, the last."""


@dataclass(frozen=True)
class AlertAddress:
    """One address, as the recipe has it: a literal one, or the name of a variable."""

    written: str
    settings: AlertSettings
    clock: Callable[[], float] = time.time

    def open(self, run: RunFacts, memory: Memory) -> Session:
        """Ready to send. Raises InputError where the variable is not set or Apprise does not know the address."""
        return _Session(self, apprise_for(self.written), run.id, memory)


def apprise_for(written: str) -> Any:
    """Apprise with this address. Raises InputError, which never shows what a variable holds."""
    import apprise

    logging.getLogger("apprise").setLevel(logging.CRITICAL)  # it would log addresses
    address = resolved(written)
    if address is None:
        hint = "set it to an address of Apprise, as `slack://...`, in the environment or in .env"
        raise InputError(f"{written} is not set", hint=hint)
    sender = apprise.Apprise()
    if not sender.add(address):
        hint = "https://appriseit.com/services/ shows the form of each service's address"
        raise InputError(f"{written}: Apprise knows no address of this form", hint=hint)
    return sender


def resolved(written: str) -> str | None:
    """The address itself; None where its variable is not set."""
    name = variable(written)
    return written if name is None else secret(name)


class _Session(Session):
    """Remembers what was seen, and what is old news, so that a restart repeats nothing."""

    def __init__(self, address: AlertAddress, sender: Any, run: str, memory: Memory) -> None:
        self._address = address
        self._sender = sender
        self._run = run
        self._memory = memory

    def take(self, event: Event) -> None:
        settings = self._address.settings
        seen = Seen(**self._memory.get("seen", {}))
        alert = alert_for(event, seen, run=self._run, progress_hours=settings.progress_hours)
        if alert is not None and alert.kind in settings.about:
            self._tell(alert)
        self._memory["seen"] = asdict(seen.after(event, progress_hours=settings.progress_hours))

    def flush(self) -> None:
        """Sends what is old news, in one message."""
        missed = [Alert(**alert) for alert in cast("list[dict[str, Any]]", self._memory.get("missed", []))]
        if missed:
            self._send(missed[0] if len(missed) == 1 else summary_of(missed, self._run))
            del self._memory["missed"]

    def _tell(self, alert: Alert) -> None:
        if self._address.clock() - alert.at > STALE:
            self._memory["missed"] = [*self._memory.get("missed", []), asdict(alert)][-_MOST_MISSED:]
            return
        self.flush()
        self._send(alert)

    def _send(self, alert: Alert) -> None:
        # What an exception of a service says may hold its address, and errors are written down.
        try:
            sent = self._sender.notify(title=alert.title, body=alert.body, notify_type=alert.severity)
        except Exception as error:
            raise LorryError(f"{self._address.written}: {type(error).__name__}") from None
        if not sent:
            raise LorryError(f"{self._address.written}: the service did not take the message")
