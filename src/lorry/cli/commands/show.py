"""`lorry show RUN`: what one run is, where it stands, how good it is."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from lorry import units
from lorry.cli import output
from lorry.report.facts import facts, headline
from lorry.report.samples import split_name
from lorry.report.write import gather
from lorry.track.folder import RunFolder
from lorry.track.store import UNDER_WAY, RunRow, Store


def command(
    run: Annotated[str, typer.Argument(help="A run's id, a beginning of it, or `last`.")] = "last",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what a run is, where it stands and how its adapter scores."""
    row = Store.open().find(run)
    _, summary = gather(RunFolder(row.folder), status=row.status)
    if as_json:
        output.emit_json({**asdict(row), "summary": summary})
        return
    output.data(row.id)
    output.data(headline(summary))
    output.data("")
    _facts([*facts(summary), ("Created", f"{units.moment(row.created_at)} UTC"), ("Folder", str(row.folder))])
    _scores(summary)
    if not row.folder.is_dir():
        output.warn(f"the run's folder is gone: {row.folder}")
    output.note(_next(row))


def _facts(pairs: list[tuple[str, str]]) -> None:
    width = max(len(label) for label, _ in pairs) + 2
    for label, text in pairs:
        output.pieces([(label.ljust(width), "dim"), (text, "")])


def _scores(summary: dict[str, Any]) -> None:
    for split, rows in summary["scores"].items():
        output.data(f"\nScores on the {split_name(split)} rows")
        for row in rows:
            output.data(f"  {row['sentence']}")


def _next(row: RunRow) -> str:
    if row.status == "detached":
        return f"nobody controls it: `lorry attach {row.id}` takes it up, `lorry stop {row.id}` ends it"
    if row.status in UNDER_WAY:
        return f"follow it: `lorry watch {row.id}`, `lorry logs -f {row.id}`"
    return f"more: `lorry report {row.id}`, `lorry logs {row.id}`"
