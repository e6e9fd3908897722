"""`lorry attach`: watch a rented run again, and control it where nobody does."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    run: Annotated[str, typer.Argument(help="A run's id, a beginning of it, or `last`.")] = "last",
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON at the end.")] = False,
) -> None:
    """Watch a rented run again. Where its controller is gone, this process takes it up where it stands."""
    from lorry.cli.outcome import View
    from lorry.cli.watching import attach, refuse_over, rented

    folder = rented(run)
    refuse_over(folder)
    attach(folder, View(as_json=as_json))
