"""`lorry track RUN`: tells trackers and people what they have not been told yet."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import asdict
from typing import Annotated

import typer
from filelock import FileLock, Timeout

from lorry.cli import output
from lorry.errors import InputError, RefusedError, RunFailedError
from lorry.track import relay
from lorry.track.folder import RunFolder
from lorry.track.relay import Told
from lorry.track.store import Store


def command(
    run: Annotated[str, typer.Argument(help="A run's id, a beginning of it, or `last`.")] = "last",
    seconds: Annotated[float, typer.Option("--seconds", help="Give up after this many.", min=1)] = 600.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> int:
    """Tell a run's trackers and the addresses of its alerts what they have not been told yet.

    While a run goes on this happens by itself. Leaves with 1 when something could not be told; it can be tried again.
    """
    folder = RunFolder(Store.open().find(run).folder)
    before = {one.name: one.outstanding for one in relay.how_far(folder)}
    if before:
        _relay(folder, seconds)
    told = relay.how_far(folder)
    if as_json:
        output.emit_json([asdict(one) for one in told])
    elif told:
        output.table(["who", "told now", "left", "trouble"], [_row(one, before[one.name]) for one in told])
    else:
        output.note("this run's recipe names no sinks and no addresses of alerts: see `track` in it")
    return 0 if all(one.is_complete for one in told) else RunFailedError.exit_code


def _relay(folder: RunFolder, seconds: float) -> None:
    """Runs a relay with nothing to wait for, in a process of its own: a tracker that hangs can be left behind there."""
    _refuse_while_another_works(folder)
    arguments = [sys.executable, "-P", "-m", "lorry.track.relay", str(folder.path), str(seconds)]
    process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        code = process.wait()
    except BaseException:
        process.kill()
        raise
    if code == InputError.exit_code:
        raise InputError(f"the relay could not read the run in {folder.path}", hint="`lorry show` tells what there is")


def _refuse_while_another_works(folder: RunFolder) -> None:
    folder.track.mkdir(exist_ok=True)
    try:
        with FileLock(folder.track / ".lock", timeout=0):
            return
    except Timeout:
        hint = "it tells everyone by itself; `lorry logs --follow` shows the run"
        raise RefusedError("the run's own relay is at work", hint=hint) from None


def _row(told: Told, before: int) -> list[str]:
    return [told.name, str(max(0, before - told.outstanding)), str(told.outstanding), told.error or "-"]
