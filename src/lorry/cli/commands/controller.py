"""`lorry controller`: one process that controls every rented run that nobody else does."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from lorry.cli import output
from lorry.track.folder import RunFolder


def command(
    run: Annotated[list[str] | None, typer.Option("--run", help="Only this run; may be given again.")] = None,
    until_idle: Annotated[bool, typer.Option("--until-idle", help="End when no run is left to control.")] = False,
) -> None:
    """Control all rented runs in one process: follow them, copy checkpoints home, recover, give machines back.

    It takes up every run that no other process controls. Ctrl-C leaves their machines as they are: started again, it goes on.

    With `--until-idle` it stays for up to a day while the end of a machine is not confirmed. It leaves with 4 where that one
    may still bill then, and where it cannot ask for its end.
    """
    from lorry.compute.control import serving

    output.note("controls every rented run that nobody else does; Ctrl-C leaves their machines as they are")
    asyncio.run(serving.serve(_settled, only=frozenset(run or ()), until_idle=until_idle))


def _settled(folder: RunFolder) -> None:
    """Writes down what became of a run, and says it; a machine that may still bill is said first."""
    from lorry import job
    from lorry.cli.following import ending
    from lorry.errors import LorryError
    from lorry.track.run import Run

    job.settle(folder)
    last = ending(folder)
    if last is None:
        return
    try:
        job.raise_unless_well(Run(folder), last)
    except LorryError as error:
        output.warn(f"{folder.id}: {error.message}" + (f" ({error.hint})" if error.hint else ""))
    else:
        output.note(f"{folder.id}: finished")
