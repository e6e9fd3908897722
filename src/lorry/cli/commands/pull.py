"""`lorry pull`: a rented run's adapter as it is now."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Annotated

import typer

from lorry.cli import output
from lorry.errors import InputError, LorryError
from lorry.track.folder import RunFolder
from lorry.trainer import checkpoint

_TRIES = 5


def command(
    run: Annotated[str, typer.Argument(help="A run's id, a beginning of it, or `last`.")] = "last",
    to: Annotated[Path | None, typer.Option("--to", help="A new folder for the adapter.")] = None,
    checkpoints: Annotated[
        bool, typer.Option("--checkpoints", help="Bring every checkpoint home, and make no adapter of one.")
    ] = False,
) -> None:
    """Fetch what a rented run has made so far: the weights of its newest checkpoint, as an adapter that can be used.

    The run goes on. A run that has delivered its adapter gives that one.
    """
    from lorry.cli.watching import rented

    folder = rented(run)
    if to is not None and not checkpoints:
        _must_be_new(to)
    _bring_home(folder, every=checkpoints)
    steps = checkpoint.steps(folder.checkpoints)
    if checkpoints:
        output.data("\n".join(str(checkpoint.path_of(folder.checkpoints, step)) for step in steps))
        return
    output.data(str(_delivered(folder, to)))


def _must_be_new(target: Path) -> None:
    if target.exists():
        raise InputError(f"`{target}` is there already", hint="name a new folder: `--to FOLDER`")


def _delivered(folder: RunFolder, to: Path | None) -> Path:
    """Where the adapter is put. A checkpoint that the run's controller deletes meanwhile has a newer one after it."""
    for _ in range(_TRIES):
        source = folder.adapter if folder.adapter.is_dir() else _newest(folder)
        name = "adapter" if source == folder.adapter else source.name
        target = to or Path(f"{folder.id}-{name}")
        _must_be_new(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            checkpoint.deliver(source, target)
        except (OSError, LorryError):
            if source.is_dir():
                raise
        else:
            return target
    raise LorryError("the run's checkpoints change faster than they can be copied", hint="try once more")


def _newest(folder: RunFolder) -> Path:
    found = checkpoint.newest(folder.checkpoints, lambda _place, _reason: None)
    if found is None:
        hint = f"`lorry logs -f {folder.id}` shows when the first one is saved"
        raise InputError(f"`{folder.id}` has no checkpoint yet", hint=hint)
    return found


def _bring_home(folder: RunFolder, *, every: bool) -> None:
    """Copies what the machine has and this computer has not; nothing where the run has no machine any more."""
    from lorry.compute.control.reached import held
    from lorry.compute.outcomes import OutcomeError

    try:
        held(folder)
    except InputError:
        return
    try:
        asyncio.run(_copied(folder, every=every))
    except (OutcomeError, InputError) as error:
        output.warn(f"the machine cannot be asked for newer ones: {error.message}")


async def _copied(folder: RunFolder, *, every: bool) -> None:
    from lorry.compute import needs
    from lorry.compute.control.reached import connected, held
    from lorry.compute.machine import fetching

    async with connected(folder) as link:
        run = await fetching.run_folder(link, folder.id)
        expected, by = needs.load(folder).disk_bytes, f".pull-{os.getpid()}"
        at = fetching.Source(link, run, held(folder).name, expected, by)
        there = sorted(await fetching.complete(at), reverse=True)
        for step in there if every else there[:1]:
            await fetching.copy_checkpoint(at, step, folder)
