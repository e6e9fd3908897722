"""`lorry detach`: free the terminal that watches a rented run."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from lorry.cli import output
from lorry.track.folder import RunFolder

_PATIENCE = 5.0
"""Seconds that whoever holds the run has for letting it go."""


def command(
    run: Annotated[str, typer.Argument(help="A run's id, a beginning of it, or `last`.")] = "last",
) -> None:
    """Free the terminal that watches a rented run: the run goes on under a controller in the background."""
    from lorry.cli.watching import refuse_over, rented
    from lorry.compute.control import controller

    folder = rented(run)
    refuse_over(folder)
    if controller.is_controlled(folder):
        _ask_to_let_go(folder)
    else:
        controller.go_on_alone(folder)
    output.note(f"`{folder.id}` goes on in the background; `lorry attach {folder.id}` watches it again")


def _ask_to_let_go(folder: RunFolder) -> None:
    """A terminal answers within a second; a controller in the background has nothing to let go of, and does not."""
    from lorry.compute.control.at_home import answered, ask, requested

    ask(folder, "detach")
    until = time.monotonic() + _PATIENCE
    while requested(folder) == "detach":
        if time.monotonic() > until:
            answered(folder)
            return
        time.sleep(0.1)
