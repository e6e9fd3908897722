"""`lorry controller`: one process that controls every rented run that nobody else does."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer


def command(
    run: Annotated[list[str] | None, typer.Option("--run", help="Only this run; may be given again.")] = None,
    until_idle: Annotated[bool, typer.Option("--until-idle", help="End when no run is left.")] = False,
) -> None:
    """Control all rented runs in one process: follow them, copy checkpoints home, recover, give machines back.

    It takes up every run that no other process controls. Ctrl-C leaves their machines as they are: started again, it goes on.
    """
    from lorry import job
    from lorry.compute import serving

    only = frozenset(run or ())
    asyncio.run(serving.serve(job.settle, only=only, until_idle=until_idle))
