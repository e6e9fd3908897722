"""Builders of runs that are over and have left a machine, at a provider whose machines stand in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lorry.compute.providers._base import Machine
from lorry.track.folder import RunFolder, home
from lorry.track.leases import LeaseRow, Leases
from lorry.track.store import Store
from renting import NOON, open_lease

CREATED = '{"seq":1,"at":1,"kind":"created","data":{"recipe":"tiny","run":"tiny"}}\n'


def run(run_id: str, status: str = "finished", *, events: str = CREATED) -> RunFolder:
    """A rented run in the store, as far as a controller looks at it before it takes it up."""
    folder = RunFolder(home() / "runs" / run_id)
    folder.path.mkdir(parents=True)
    folder.needs.write_text("{}", encoding="utf-8")
    folder.events.write_text(events, encoding="utf-8")
    store = Store.open()
    store.add(run_id, name="tiny", folder=folder.path, model="tiny", method="sft", created_at=NOON)
    store.update(run_id, status=status)
    return folder


def lease(shed: Any, run_id: str, **given: Any) -> LeaseRow:
    """An open lease of the run, with its settings at the shed."""
    row = open_lease(f"lorry-{run_id}", **{"run_id": run_id, "settings": {"file": shed.file}, **given})
    Leases.open().add(row)
    return row


def machines(*rows: LeaseRow) -> list[Machine]:
    """The machines of leases, as their provider lists them."""
    return [Machine(row.machine_id, row.name, "running", row.usd_per_hour) for row in rows]


def told() -> list[str]:
    """What controllers have written down."""
    log = Path(home() / "logs" / "controller.log")
    return log.read_text(encoding="utf-8").splitlines() if log.exists() else []
