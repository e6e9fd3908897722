"""A rented run as its controller holds it: its folder and events, what a person asked for since, its row in the store."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from lorry.compute import needs
from lorry.compute.needs import Needs
from lorry.recipe.schema import Recipe
from lorry.track.events import ENDINGS, Event, EventLog, last_attempt, last_number, read
from lorry.track.folder import RunFolder, write_json
from lorry.track.store import Changes, Store
from lorry.trainer.supervise.relayed import Relayed

Request = Literal["", "stop", "now", "detach"]
"""What a person asked of a run from outside: to stop after a checkpoint, or at once; or that its controller let it go."""
_REQUEST = "request.json"
_ROW_EVERY = 5.0
"""Seconds between two writes of a run's row while steps come: hundreds of runs share one database."""
_FREQUENT = frozenset({"step", "scoring"})


def ask(folder: RunFolder, request: Request) -> None:
    """Leaves a request for whoever controls the run."""
    write_json(folder.path / _REQUEST, {"request": request, "at": time.time()})


def requested(folder: RunFolder) -> Request:
    """What is asked of a run; empty for nothing."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        found = json.loads((folder.path / _REQUEST).read_text(encoding="utf-8"))["request"]
        return found if found in ("stop", "now", "detach") else ""
    return ""


def answered(folder: RunFolder) -> None:
    """Takes a request away: it has been carried out."""
    (folder.path / _REQUEST).unlink(missing_ok=True)


@dataclass
class RunAtHome:
    """One run; held by one process at a time. `show` is given each event once it is written."""

    folder: RunFolder
    show: Callable[[Event], None]
    recipe: Recipe = field(init=False)
    facts: dict[str, Any] = field(init=False)
    needs: Needs = field(init=False)
    step: int = 0
    """The last step that is known here."""

    def __post_init__(self) -> None:
        self.facts = json.loads(self.folder.resolved.read_text(encoding="utf-8"))
        self.recipe = Recipe.model_validate(self.facts["recipe"])
        self.needs = needs.load(self.folder)
        self._log = EventLog(self.folder.events, attempt=last_attempt(self.folder.events))
        self._relay = Relayed(self.folder, self.recipe)
        self._store = Store.open()
        self._wrote = 0.0
        self.step = max((event.step or 0 for event in read(self.folder.events) if event.kind == "step"), default=0)

    @property
    def id(self) -> str:
        """The run's id."""
        return self.folder.id

    def tell(self, kind: str, *, step: int | None = None, **data: Any) -> Event:
        """Writes an event of the controller's own."""
        return self._noted(self._log.append(kind, step=step, **data))

    def mirror(self, event: Event) -> Event:
        """Writes an event that a machine told."""
        self._log.attempt = max(self._log.attempt, event.attempt)
        return self._noted(self._log.mirror(event))

    def sent_after(self, lease: str) -> int | None:
        """The number of the machine's last event that is known here; None where the run was not sent to that machine yet."""
        known: int | None = None
        for event in read(self.folder.events):
            if event.kind == "sent":
                known = int(event.data["after"]) if event.data["lease"] == lease else None
            elif event.told is not None and known is not None:
                known = max(known, event.told)
        return known

    @property
    def last_number(self) -> int:
        """The number of the last event here."""
        return last_number(self.folder.events)

    @property
    def request(self) -> Request:
        """Whether a person asks for the run's end, and how; empty where not. Being let go is no affair of the run's."""
        found = requested(self.folder)
        return "" if found == "detach" else found

    @property
    def seconds_before(self) -> float:
        """Seconds that the run has been worked on, as its agents counted them."""
        with suppress(OSError, ValueError, KeyError, TypeError):
            told = float(json.loads(self.folder.heartbeat.read_text(encoding="utf-8"))["seconds"])
            return told if 0 <= told < 1e9 else 0.0
        return 0.0

    def tend(self) -> None:
        """Keeps trackers and people told."""
        self._relay.tend()

    def close(self) -> None:
        """Lets trackers be told the rest."""
        self._relay.close()

    def _noted(self, event: Event) -> Event:
        if event.kind == "step" and event.step is not None:
            self.step = event.step
        now = time.monotonic()
        if event.kind not in ENDINGS and (event.kind not in _FREQUENT or now - self._wrote >= _ROW_EVERY):
            self._wrote = now
            self._store.update(self.id, **self._row(event))
        self.show(event)
        return event

    def _row(self, event: Event) -> Changes:
        changes = Changes(status="running")
        if event.kind == "started":
            changes["steps"] = event.data["steps"]
        elif event.kind == "step":
            changes["step"], changes["loss"] = event.step, event.data["loss"]
        return changes
