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
from lorry.cli.narrate import line
from lorry.errors import InputError
from lorry.track import events
from lorry.track.folder import RunFolder
from lorry.track.store import RunRow, Store

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
    ended = _ended(store, row) if follow else _at_once
    if trainer:
        _print_output(folder.logs, ended)
        return
    for event in events.follow(folder.events, ended=ended, pause=_PAUSE):
        if as_json:
            output.data(json.dumps(asdict(event), ensure_ascii=True))
        else:
            output.data(f"{units.moment(event.at)}  {line(event)}")
        if follow:
            output.flush()


def _at_once() -> bool:
    return True


def _ended(store: Store, row: RunRow) -> Callable[[], bool]:
    """Whether nothing more will come: the run is over, or its process is gone."""
    return lambda: store.find(row.id).status not in ("created", "running")


def _print_output(logs: Path, ended: Callable[[], bool]) -> None:
    """Prints what the training processes wrote, oldest file first, and follows the newest."""
    files = sorted((file for file in logs.glob("*") if file.is_file()), key=lambda file: file.stat().st_mtime)
    if not files:
        raise InputError(f"there is no output of a training process in {logs}", hint="leave out `--trainer`")
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
