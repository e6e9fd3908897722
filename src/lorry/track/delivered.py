"""The run whose adapter a person means to continue, by any name that people give to runs."""

from __future__ import annotations

import json

from lorry.errors import InputError
from lorry.track.folder import RunFolder
from lorry.track.store import RunRow, Store


def delivered(named: str) -> RunFolder:
    """The run that a name means, which has delivered an adapter.

    `last` is the newest run but for smoke runs; an experiment's name means the newest of its runs that has delivered; any other
    name is a run's id, or the beginning of one alone. Raises InputError where there is no such run, or it has no adapter.
    """
    store = Store.open()
    row = _last(store) if named == "last" else _of_experiment(store, named) or store.find(named)
    if not _has_adapter(row):
        raise InputError(f"run `{row.id}` has delivered no adapter", hint=_instead(store, row))
    return RunFolder(row.folder)


def _last(store: Store) -> RunRow:
    found = next((row for row in store.list() if not _is_smoke(row)), None)
    if found is None:
        hint = "start one: `lorry run RECIPE`, or both in turn: `lorry run EARLIER THIS`"
        raise InputError("there is no run yet to continue from", hint=hint)
    return found


def _of_experiment(store: Store, named: str) -> RunRow | None:
    """Of the runs of this very name the newest that has delivered, else the newest; None where there are none."""
    rows = [row for row in store.list() if row.name == named]
    return next(filter(_has_adapter, rows), rows[0] if rows else None)


def _has_adapter(row: RunRow) -> bool:
    return RunFolder(row.folder).adapter.is_dir()


def _is_smoke(row: RunRow) -> bool:
    """Whether it was a smoke run, which nobody means to continue; False where its folder does not tell."""
    try:
        return bool(json.loads(RunFolder(row.folder).resolved.read_text(encoding="utf-8")).get("smoke"))
    except (OSError, ValueError, AttributeError):
        return False


def _instead(store: Store, refused: RunRow) -> str:
    """What to do about a run without an adapter: where it stands, and the newest one that has an adapter."""
    others = (row for row in store.list(limit=100) if not _is_smoke(row))
    other = next(filter(_has_adapter, others), None)
    stands = f"`lorry show {refused.id}` tells where it stands"
    return stands if other is None else f"{stands}; the newest run with an adapter is `{other.id}`"
