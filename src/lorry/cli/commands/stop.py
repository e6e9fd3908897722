"""`lorry stop`: end a run after a checkpoint, or now."""

from __future__ import annotations

import os
import signal
from typing import Annotated

import typer

from lorry.cli import output
from lorry.errors import InputError
from lorry.track.folder import RunFolder
from lorry.track.process import is_alive
from lorry.track.store import RunRow, Store


def command(
    run: Annotated[str, typer.Argument(help="A run's id, a beginning of it, or `last`.")] = "last",
    now: Annotated[bool, typer.Option("--now", help="End it at once; what was saved and copied stays.")] = False,
) -> None:
    """End a run: it saves a checkpoint first, unless `--now`. A rented machine is given back, and this waits for that."""
    row = Store.open().find(run)
    folder = RunFolder(row.folder)
    if folder.is_rented:
        _stop_rented(folder, now=now)
    else:
        _stop_here(row, now=now)


def _stop_rented(folder: RunFolder, *, now: bool) -> None:
    from lorry.cli.outcome import View
    from lorry.cli.watching import attach, refuse_over
    from lorry.compute.control.at_home import ask
    from lorry.errors import StoppedError

    refuse_over(folder)
    ask(folder, "now" if now else "stop")
    try:
        attach(folder, View())
    except StoppedError as stopped:
        output.note(f"{stopped.message}; {stopped.hint}")


def _stop_here(row: RunRow, *, now: bool) -> None:
    """Sends the agent what Ctrl-C would send it."""
    if row.status != "running" or row.pid is None or not is_alive(row.pid, row.pid_started):
        raise InputError(f"`{row.id}` is {row.status}", hint=f"`lorry show {row.id}` tells more")
    os.kill(row.pid, signal.SIGKILL if now else signal.SIGINT)
    output.note(f"`{row.id}` is told to stop; `lorry logs -f {row.id}` shows when it has")
