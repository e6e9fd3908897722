"""A rented run as its controller holds it: its folder and events, what a person asked for since, its row in the store."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Literal

from lorry.compute import needs
from lorry.compute.control.known import Known
from lorry.compute.control.rows import Rows
from lorry.compute.machine.bounds import Before, Bounds
from lorry.compute.machine.told import Beat
from lorry.compute.needs import Needs
from lorry.recipe.schema import Recipe
from lorry.track.events import ENDINGS, Event, EventLog, read
from lorry.track.folder import RunFolder, write_json
from lorry.track.store import Changes, Store
from lorry.trainer.supervise.relayed import Relayed
from lorry.trainer.watched import Watched, best_as_known

Request = Literal["", "stop", "now", "detach"]
"""What a person asked of a run from outside: to stop after a checkpoint, or at once; or that its controller let it go."""
_REQUEST, _DETACH = "request.json", "detach.json"
_BEAT_EVERY = 15.0
"""Seconds between two writes of a machine's heartbeat to the disk."""


def ask(folder: RunFolder, request: Request) -> None:
    """Leaves a request for whoever controls the run. To let it go takes no wish to stop away."""
    write_json(folder.path / (_DETACH if request == "detach" else _REQUEST), {"request": request, "at": time.time()})


def requested(folder: RunFolder) -> Request:
    """Whether it is to stop, and how; empty for not."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        found = json.loads((folder.path / _REQUEST).read_text(encoding="utf-8"))["request"]
        return found if found in ("stop", "now") else ""
    return ""


def is_to_let_go(folder: RunFolder) -> bool:
    """Whether its controller is asked to let it go."""
    return (folder.path / _DETACH).exists()


def let_go(folder: RunFolder) -> None:
    """Takes that request away: it has been carried out, or was meant for somebody else."""
    (folder.path / _DETACH).unlink(missing_ok=True)


def answered(folder: RunFolder) -> None:
    """Takes a request to stop away: it has been carried out."""
    (folder.path / _REQUEST).unlink(missing_ok=True)


@dataclass
class RunAtHome:
    """One run; held by one process at a time. `show` is given each event once it is written, `rows` what is new of the run.

    Making one reads all of the run's events: where others must not wait for that, in a thread.
    """

    folder: RunFolder
    show: Callable[[Event], None]
    rows: Rows | None = None
    recipe: Recipe = field(init=False)
    facts: dict[str, Any] = field(init=False)
    needs: Needs = field(init=False)
    known: Known = field(init=False)
    """What its events have told so far."""

    def __post_init__(self) -> None:
        self.facts = json.loads(self.folder.resolved.read_text(encoding="utf-8"))
        self.recipe = Recipe.model_validate(self.facts["recipe"])
        self.needs = needs.load(self.folder)
        self._log = EventLog(self.folder.events)
        self.known = Known.of(read(self.folder.events))
        self._log.attempt = self.known.attempt
        self._relay = Relayed(self.folder, self.recipe)
        self._rows = self.rows or Rows(Store.open())
        self._beat: Beat | None = None
        self._beat_kept = float("-inf")

    @property
    def id(self) -> str:
        """The run's id."""
        return self.folder.id

    @property
    def step(self) -> int:
        """The last step that is known here."""
        return self.known.step

    @property
    def ranked(self) -> list[int]:
        """The steps whose evaluations are known, the best first."""
        return self._best_by.best_first(self.known.scores)

    @cached_property
    def _best_by(self) -> Watched:
        return best_as_known(self.facts["recipe"])

    def tell(self, kind: str, *, step: int | None = None, **data: Any) -> Event:
        """Writes an event of the controller's own."""
        return self._noted(self._log.append(kind, step=step, **data))

    def mirror(self, event: Event) -> Event:
        """Writes an event that a machine told."""
        return self.mirror_all([event])[0]

    def mirror_all(self, events: Sequence[Event]) -> list[Event]:
        """Writes several events that a machine told, with one wait for the disk."""
        self._log.attempt = max(self._log.attempt, *(event.attempt for event in events), 1)
        return [self._noted(event) for event in self._log.mirror_all(events)]

    def sent_after(self, lease: str) -> int | None:
        """The number of the machine's last event that is known here; None where the run was not sent to that machine yet."""
        return self.known.sent_after(lease)

    def bounds(self, lease: str, since: float) -> Bounds:
        """How far the machine may be believed that the run was sent to, also where another controller has heard it before.

        `since` is when the machine began to serve the run; seconds since 1970.
        """
        size, number = self.folder.events.stat().st_size, self.sent_after(lease) or 0
        before = Before(self.known.attempt_before(lease), number, self.seconds_before, since, size)
        return Bounds(before, attempt=self.known.attempt, steps=self.known.steps)

    @property
    def over(self) -> Event | None:
        """How the run was known to end when its controller died before all was given back; None where it goes on."""
        found: Event | None = None
        for event in read(self.folder.events):
            if event.kind == "over":
                found = event
            elif event.kind in ENDINGS:
                found = None
        return found

    @property
    def last_number(self) -> int:
        """The number of the last event here."""
        return self.known.number

    @property
    def request(self) -> Request:
        """Whether a person asks for the run's end, and how; empty where not. Being let go is no affair of the run's."""
        found = requested(self.folder)
        return "" if found == "detach" else found

    @property
    def seconds_before(self) -> float:
        """Seconds that the run has been worked on, as its agents counted them."""
        if self._beat is not None:
            return self._beat.seconds if 0 <= self._beat.seconds < 1e9 else 0.0
        with suppress(OSError, ValueError, KeyError, TypeError):
            told = float(json.loads(self.folder.heartbeat.read_text(encoding="utf-8"))["seconds"])
            return told if 0 <= told < 1e9 else 0.0
        return 0.0

    def beat(self, told: Beat) -> None:
        """Takes in a sign of life; `keep_beat` writes it down."""
        self._beat = told

    async def keep_beat(self, *, now: bool = False) -> None:
        """Writes the machine's last heartbeat down, from time to time, or `now`; where there never was one, that it has none.

        Else the next agent would count the seconds from the times of events, which are whatever a machine's clock says.
        """
        at = time.monotonic()
        if now and self._beat is None and not self.folder.heartbeat.exists():
            none = Beat(time.time(), self.known.attempt, self.known.step, "", 0.0)
            await asyncio.to_thread(write_json, self.folder.heartbeat, asdict(none))
        if self._beat is not None and (now or at - self._beat_kept >= _BEAT_EVERY):
            self._beat_kept = at
            with suppress(OSError):  # a full disk is found out by what matters
                await asyncio.to_thread(write_json, self.folder.heartbeat, asdict(self._beat))

    def tend(self) -> None:
        """Keeps trackers and people told."""
        self._relay.tend()

    def close(self) -> None:
        """Lets trackers be told the rest."""
        self._relay.close()

    def _noted(self, event: Event) -> Event:
        self.known.add(event)
        if event.kind not in ENDINGS:
            self._rows.note(self.id, **self._row(event))
        self.show(event)
        return event

    def _row(self, event: Event) -> Changes:
        changes = Changes(status="running")
        if event.kind == "started":
            changes["steps"] = event.data["steps"]
        elif event.kind == "step":
            changes["step"], changes["loss"] = event.step, event.data["loss"]
        return changes
