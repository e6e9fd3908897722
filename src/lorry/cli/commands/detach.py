"""`lorry detach`: free the terminal that watches a rented run."""

from __future__ import annotations

from typing import Annotated

import typer

from lorry.cli import output


def command(
    run: Annotated[str, typer.Argument(help="A run's id, a beginning of it, or `last`.")] = "last",
) -> None:
    """Free the terminal that watches a rented run: the run goes on under a controller in the background."""
    from lorry.cli.watching import refuse_over, rented
    from lorry.compute import controller
    from lorry.compute.at_home import ask

    folder = rented(run)
    refuse_over(folder)
    if controller.is_controlled(folder):
        ask(folder, "detach")
    else:
        controller.go_on_alone(folder)
    output.note(f"`{folder.id}` goes on in the background; `lorry attach {folder.id}` watches it again")
