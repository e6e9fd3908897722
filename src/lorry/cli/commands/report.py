"""`lorry report RUN`: what came out of a run."""

from __future__ import annotations

from typing import Annotated

import typer

from lorry.cli import output
from lorry.errors import InputError
from lorry.report.write import gather, write
from lorry.track.folder import RunFolder
from lorry.track.store import RunRow, Store


def command(
    run: Annotated[str, typer.Argument(help="A run's id, a beginning of it, or `last`.")] = "last",
    html: Annotated[bool, typer.Option("--html", help="Print the path of the HTML page.")] = False,
    browse: Annotated[bool, typer.Option("--open", help="Open the HTML page in the browser.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Print a run's report as Markdown; it is written anew where it is missing or older than the run's last event."""
    row = Store.open().find(run)
    folder = RunFolder(row.folder)
    if not folder.path.is_dir():
        raise InputError(f"the run's folder is gone: {folder.path}", hint="`lorry ps --rebuild` forgets such runs")
    if _is_stale(folder):
        write(folder, status=_status(row))
    if as_json:
        output.emit_json(gather(folder, status=_status(row))[1])
    elif html or browse:
        output.exact(f"{folder.report_html}\n")
    else:
        output.data(folder.report.read_text(encoding="utf-8"))
    if browse:
        _open(folder)


def _status(row: RunRow) -> str | None:
    """What only the store knows: that the process is gone."""
    return row.status if row.status in ("interrupted", "detached") else None


def _is_stale(folder: RunFolder) -> bool:
    """Whether a part is missing, or older than the run's events or scores, which `lorry evaluate` writes anew."""
    files = (folder.report, folder.report_html, folder.summary)
    if not all(file.exists() for file in files):
        return True
    reported = (folder.events, folder.evaluation / "scores.json")
    newest = max((file.stat().st_mtime for file in reported if file.exists()), default=0.0)
    return min(file.stat().st_mtime for file in files) < newest


def _open(folder: RunFolder) -> None:
    import webbrowser

    if not webbrowser.open(folder.report_html.as_uri()):
        raise InputError("no browser can be opened here", hint=f"open the page yourself: {folder.report_html}")
