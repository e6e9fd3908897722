"""`lorry speeds`: how fast runs have trained on each device, which corrects estimates."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from lorry import units
from lorry.cli import output
from lorry.errors import InputError
from lorry.plan import speeds
from lorry.plan.speeds import Reached
from lorry.track.folder import write_exact

_COLUMNS = (
    output.Column("device"),
    output.Column("numbers"),
    output.Column("parameters", right=True),
    output.Column("tokens at once", right=True),
    output.Column("TFLOP/s", right=True),
    output.Column("day"),
)


def command(
    add: Annotated[Path | None, typer.Option(help="Take over the runs of such a file.")] = None,
    save: Annotated[Path | None, typer.Option(help="Write all runs into a file, to be shared.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List how fast runs have trained on each device; `lorry plan` reckons with those that are like the planned one.

    Each finished run of 20 steps or more adds a line, which tells sizes and speeds and nothing else of it.
    """
    if add is not None:
        count = _added(add)
        output.note(f"{count} {'run' if count == 1 else 'runs'} added")
    found = speeds.known()
    if save is not None:
        _write(save, found)
        output.note(f"{len(found)} runs written to {save}; elsewhere `lorry speeds --add {save.name}` takes them over")
    elif as_json:
        output.emit_json([asdict(one) for one in found])
    elif found:
        output.table(_COLUMNS, [_cells(one) for one in found])
    elif add is None:
        output.note("no run has been timed yet: each that finishes after 20 steps or more is")


def _added(path: Path) -> int:
    found = speeds.read_file(path)
    try:
        return speeds.add(found)
    except OSError as error:
        hint = "set LORRY_HOME to a folder that you may write to"
        raise InputError(f"cannot be written: {error.strerror}", place=str(speeds.place()), hint=hint) from error


def _write(path: Path, found: Iterable[Reached]) -> None:
    try:
        write_exact(path, speeds.lines(found))
    except OSError as error:
        hint = "give a place that can be written"
        raise InputError(f"cannot be written: {error.strerror}", place=str(path), hint=hint) from error


def _cells(one: Reached) -> list[str]:
    rate = units.rate(one.flops / 1e12)
    return [one.device, one.numbers, units.count(one.parameters), units.count(one.tokens_at_once), rate, one.day]
