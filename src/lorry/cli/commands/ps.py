"""`lorry ps`: the runs, newest first."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Literal

import typer

from lorry import units
from lorry.cli import output
from lorry.track.folder import RunFolder
from lorry.track.leases import Leases
from lorry.track.store import RunRow, Store

_COLUMNS = (
    output.Column("run"),
    output.Column("status"),
    output.Column("where"),
    output.Column("step", right=True),
    output.Column("loss", right=True),
    output.Column("started (UTC)"),
    output.Column("age", right=True),
)
Status = Literal["created", "running", "finished", "failed", "stopped", "interrupted", "detached"]


def command(
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="Newest runs to list; 0 for all.")] = 20,
    status: Annotated[Status | None, typer.Option(help="Only runs with this status.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    rebuild: Annotated[bool, typer.Option(help="First make lorry.db anew from the run folders.")] = False,
) -> None:
    """List the runs, newest first, and where each trains or trained.

    A run whose process is gone is `interrupted`; a rented one, whose machine may train on, is `detached`: `lorry attach` takes
    it up.
    """
    store = Store.rebuild() if rebuild else Store.open()
    rows = store.list(limit or None, status)
    places = Leases(store).places([row.id for row in rows])
    if as_json:
        output.emit_json([{**asdict(row), "where": _where(row, places)} for row in rows])
        return
    if not rows:
        output.note(f"no run is {status}" if status else "there are no runs yet; start one: `lorry run RECIPE`")
        return
    output.table(_COLUMNS, [_cells(row, places, time.time()) for row in rows], fold=False)
    if status is None and limit and len(rows) == limit and (every := store.count()) > limit:
        output.note(f"{limit} of {units.count(every)} runs; `lorry ps --limit 0` lists all")


def _where(row: RunRow, places: Mapping[str, str]) -> str:
    """Where a run trains; `-` for one for which no machine was rented (yet)."""
    if row.id in places:
        return places[row.id]
    return "-" if RunFolder(row.folder).is_rented else "here"


def _cells(row: RunRow, places: Mapping[str, str], now: float) -> list[str]:
    step = "-" if row.steps is None else f"{row.step or 0}/{row.steps}"
    started = units.moment(row.created_at)[:16]  # to the minute
    return [
        row.id,
        row.status,
        _where(row, places),
        step,
        units.value(row.loss),
        started,
        units.age(now - row.created_at),
    ]
