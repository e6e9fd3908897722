"""Who controls rented runs: one process, one run or hundreds; a lock on its folder keeps each to one process at a time.

A controller may die at any moment; the next one takes its runs up where they stand.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from filelock import FileLock, Timeout

from lorry.compute import ssh
from lorry.compute.at_home import RunAtHome, answered, requested
from lorry.compute.attempt import Patience
from lorry.compute.lease import Clock
from lorry.compute.providers._base import Provider
from lorry.compute.rented import Rented
from lorry.compute.renting import Renting, closed
from lorry.errors import DetachedError, LorryError, RefusedError
from lorry.plugins import make
from lorry.track.events import ENDINGS, Event, read
from lorry.track.folder import RunFolder, home
from lorry.track.leases import Leases
from lorry.track.process import started
from lorry.track.store import UNDER_WAY, Changes, RunRow, Store

_LOOK = 5.0
"""Seconds between two looks for runs that nobody controls."""
Show = Callable[[Event], None]


@dataclass(frozen=True)
class Settings:
    """What a controller works with; tests give their own."""

    patience: Patience = field(default_factory=Patience)
    clock: Clock = field(default_factory=Clock)


def train(folder: RunFolder, show: Show, *, after: int = 0, settings: Settings | None = None) -> Event:
    """Carries a rented run out, or takes it up again, and returns its last event; blocks until then.

    `show` is given every event with a number above `after`. Raises RefusedError where another process controls the run, and
    DetachedError where a person asks from elsewhere that it be let go. Ctrl-C, too, leaves the machine as it is.
    """
    if requested(folder) == "detach":
        answered(folder)  # it was meant for whoever held the run before
    for event in read(folder.events, after=after):
        show(event)
    return asyncio.run(_until_let_go(folder, show, settings or Settings()))


async def _until_let_go(folder: RunFolder, show: Show, settings: Settings) -> Event:
    work = asyncio.create_task(control(folder, show, settings))
    try:
        while not work.done():
            await asyncio.wait({work}, timeout=settings.patience.tick)
            if requested(folder) == "detach":
                answered(folder)
                raise DetachedError("let go by another command", hint=f"`lorry attach {folder.id}` takes it up again")
        return work.result()
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


async def control(folder: RunFolder, show: Show, settings: Settings) -> Event:
    """The same within a loop that controls other runs too."""
    with held(folder):
        Store.open().update(folder.id, **_mine())
        run = RunAtHome(folder, show)
        providers = _providers(run.recipe.compute.on)
        key = ssh.installation_key(home())
        renting = Renting(run, providers, Leases.open(), key, settings.clock)
        try:
            return await Rented(renting, settings.patience).carry_out()
        finally:
            await closed(providers)
            run.close()


def is_controlled(folder: RunFolder) -> bool:
    """Whether a live process controls this run now."""
    try:
        with FileLock(_lock(folder), timeout=0):
            return False
    except Timeout:
        return True


def uncontrolled(rows: Iterable[RunRow]) -> list[RunFolder]:
    """Rented runs that have not ended and that nobody controls."""
    found = [RunFolder(row.folder) for row in rows if row.status in UNDER_WAY]
    return [folder for folder in found if folder.is_rented and not _has_ended(folder) and not is_controlled(folder)]


def go_on_alone(folder: RunFolder) -> int:
    """Starts a controller of its own for a run, which outlives this process and its terminal; its number."""
    (home() / "logs").mkdir(parents=True, exist_ok=True)
    with (home() / "logs" / "controller.log").open("ab") as log:
        words = [sys.executable, "-m", "lorry", "controller", "--run", folder.id, "--until-idle"]
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=home(),
            env={**os.environ, "LORRY_HOME": str(home().absolute())},
        )
    return process.pid


async def serve(settle: Callable[[RunFolder], None], *, only: frozenset[str] = frozenset(), until_idle: bool) -> None:
    """Controls every rented run that nobody else does, and those that come; with `until_idle` until none is left.

    `settle` is called with each that has ended, in a thread. `only` are ids to leave all others alone.
    """
    tasks: dict[str, asyncio.Task[None]] = {}
    while True:
        for name in [name for name, task in tasks.items() if task.done()]:
            tasks.pop(name)
        rows = [row for row in Store.open().list() if not only or row.id in only]
        for folder in uncontrolled(row for row in rows if row.id not in tasks):
            tasks[folder.id] = asyncio.create_task(_carried_out(folder, settle))
        if until_idle and not tasks:
            return
        await asyncio.sleep(_LOOK) if not tasks else await asyncio.wait(tasks.values(), timeout=_LOOK)


async def _carried_out(folder: RunFolder, settle: Callable[[RunFolder], None]) -> None:
    """One run among others: what goes wrong with it is its own affair."""
    try:
        await control(folder, lambda _event: None, Settings())
    except RefusedError:
        return  # another process was faster
    except LorryError as error:
        _note(folder, error)
    await asyncio.to_thread(settle, folder)


def _note(folder: RunFolder, error: LorryError) -> None:
    log = home() / "logs" / "controller.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as file:
        file.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {folder.id}: {error}\n")


@contextmanager
def held(folder: RunFolder) -> Generator[None]:
    """Holds a rented run: nobody else controls it meanwhile. Raises RefusedError where another process does."""
    try:
        with FileLock(_lock(folder), timeout=0):
            yield
    except Timeout as error:
        hint = f"follow it: `lorry attach {folder.id}`"
        raise RefusedError(f"another process controls `{folder.id}`", hint=hint) from error


def _lock(folder: RunFolder) -> Path:
    return folder.path / "controller.lock"


def _mine() -> Changes:
    return Changes(status="running", pid=os.getpid(), pid_started=started(os.getpid()))


def _providers(specs: list[dict[str, Any]]) -> list[Provider]:
    return [cast("Provider", make("providers", spec)) for spec in specs]


def _has_ended(folder: RunFolder) -> bool:
    last = None
    for last in read(folder.events):  # noqa: B007 - the last one is wanted
        pass
    return last is not None and last.kind in ENDINGS
