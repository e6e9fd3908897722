"""`lorry watch`: look on at a run, live."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    run: Annotated[str, typer.Argument(help="A run's id, a beginning of it, or `last`.")] = "last",
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON at the end.")] = False,
) -> None:
    """Show a run live, here or on a rented machine, to its end. It only looks on: Ctrl-C ends nothing but the watching.

    Exits as the run did.
    """
    from lorry.cli.outcome import View
    from lorry.cli.watching import watch
    from lorry.track.folder import RunFolder
    from lorry.track.store import Store

    watch(RunFolder(Store.open().find(run).folder), View(as_json=as_json))
