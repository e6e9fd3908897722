"""`lorry logs RUN`: everything that happened in a run, line by line."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from lorry import units
from lorry.cli import output
from lorry.cli.following import has_ended, to_the_end
from lorry.cli.narrate import line
from lorry.errors import InputError
from lorry.track import events
from lorry.track.folder import RunFolder
from lorry.track.store import Store

_PAUSE = 0.3
"""Seconds between two looks at a file that is followed."""


def command(
    run: Annotated[str, typer.Argument(help="A run's id, a beginning of it, or `last`.")] = "last",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run ends.")] = False,
    trainer: Annotated[bool, typer.Option("--trainer", help="Print the training process's own output.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print each event as a line of JSON.")] = False,
) -> None:
    """Print a run's events as readable lines."""
    store = Store.open()
    row = store.find(run)
    folder = RunFolder(row.folder)
    if trainer:
        _print_output(folder, has_ended(store, row) if follow else _at_once)
        return
    for event in to_the_end(store, row) if follow else events.read(folder.events):
        if as_json:
            output.data(json.dumps(asdict(event), ensure_ascii=True))
        else:
            output.data(f"{units.moment(event.at)}  {line(event)}")
        if follow:
            output.flush()


def _at_once() -> bool:
    return True


def _print_output(folder: RunFolder, ended: Callable[[], bool]) -> None:
    """Prints what the training processes wrote, oldest file first, and follows the newest."""
    logs = folder.logs
    files = sorted((file for file in logs.glob("*") if file.is_file()), key=lambda file: file.stat().st_mtime)
    if not files:
        there = f"lorry ssh {folder.id} -- tail -n 50 lorry/runs/{folder.id}/logs/trainer.log"
        hint = f"it comes home at the end; until then: `{there}`" if folder.is_rented else "leave out `--trainer`"
        raise InputError(f"there is no output of a training process in {logs}", hint=hint)
    for file in files[:-1]:
        output.data(_lines(file.read_bytes()))
    for text in _tail(files[-1], ended):
        output.data(text)
        output.flush()


def _tail(file: Path, ended: Callable[[], bool]) -> Iterator[str]:
    position = 0
    while True:
        last_round = ended()
        with file.open("rb") as source:
            source.seek(position)
            content = source.read()
        whole = content if last_round else content[: content.rfind(b"\n") + 1]
        if whole:
            position += len(whole)
            yield _lines(whole)
        if last_round:
            return
        time.sleep(_PAUSE)


def _lines(content: bytes) -> str:
    """Text in which a progress bar's carriage returns have become lines."""
    return content.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")
