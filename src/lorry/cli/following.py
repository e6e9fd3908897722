"""A run's events to its end, whoever writes them: for commands that look on and change nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from lorry.track import events
from lorry.track.events import ENDINGS, Event
from lorry.track.folder import RunFolder
from lorry.track.store import UNDER_WAY, RunRow, Store

_PAUSE = 0.3
"""Seconds between two looks at a file that is followed."""


def to_the_end(
    store: Store, row: RunRow, *, after: int = 0, unless: Callable[[], bool] = lambda: False
) -> Iterator[Event]:
    """Events as they come, until the run is over, its process is gone, or `unless` says so.

    A rented run is over when its events say so: it goes on without the process that controls it, and another takes it up.
    """
    last = ""
    is_rented = RunFolder(row.folder).is_rented

    def over() -> bool:
        return unless() or (is_rented and last in ENDINGS) or store.find(row.id).status not in UNDER_WAY

    for event in events.follow(RunFolder(row.folder).events, ended=over, after=after, pause=_PAUSE):
        last = event.kind
        yield event


def has_ended(store: Store, row: RunRow) -> Callable[[], bool]:
    """Whether nothing more will come of a run, as the store knows it."""
    return lambda: store.find(row.id).status not in UNDER_WAY


def ending(folder: RunFolder) -> Event | None:
    """The event that ended a run; None while it goes on."""
    last = None
    for last in events.read(folder.events):  # noqa: B007 - the last one is wanted
        pass
    return last if last is not None and last.kind in ENDINGS else None
