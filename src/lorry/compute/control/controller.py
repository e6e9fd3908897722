"""Who controls rented runs: one process, one run or hundreds; a lock on its folder keeps each to one process at a time.

A controller may die at any moment; the next one takes its runs up where they stand.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

from lorry.compute import needs, ssh
from lorry.compute.control import signals
from lorry.compute.control.at_home import RunAtHome, is_to_let_go, let_go
from lorry.compute.control.attempt import Patience
from lorry.compute.control.rented import Rented
from lorry.compute.control.renting import Renting
from lorry.compute.control.shared import Shared
from lorry.compute.control.succession import Candidate
from lorry.compute.lease import Clock
from lorry.errors import DetachedError, RefusedError
from lorry.recipe.schema import Recipe
from lorry.track.events import ENDINGS, Event, last, read
from lorry.track.folder import RunFolder, home
from lorry.track.process import started
from lorry.track.store import UNDER_WAY, Changes, RunRow

_BRIEF = 1.0
"""Seconds to wait for a lock that somebody may only be looking at."""
Show = Callable[[Event], None]


@dataclass(frozen=True)
class Settings:
    """What a controller works with; tests give their own."""

    patience: Patience = field(default_factory=Patience)
    clock: Clock = field(default_factory=Clock)


def train(
    folder: RunFolder,
    show: Show,
    *,
    after: int = 0,
    settings: Settings | None = None,
    then: Sequence[RunFolder] = (),
) -> Event:
    """Carries a rented run out, or takes it up again, and returns its last event; blocks until then.

    `show` is given every event with a number above `after`. Raises RefusedError where another process controls the run, and
    DetachedError where a person asks from elsewhere that it be let go. Ctrl-C, too, leaves the machine as it is. Where the run
    ends well and the first run of `then` can use its machine, that is handed over to it, and this process has to go on with it.
    What handlers of SIGTERM and SIGHUP raise ends it as Ctrl-C does.
    """
    let_go(folder)  # that was meant for whoever held the run before
    for event in read(folder.events, after=after):
        show(event)
    return asyncio.run(_until_let_go(folder, show, settings or Settings(), then))


async def _until_let_go(folder: RunFolder, show: Show, settings: Settings, then: Sequence[RunFolder]) -> Event:
    work = asyncio.create_task(_alone(folder, show, settings, then))
    with signals.heard() as signal:
        try:
            while not work.done():
                await asyncio.wait({work, signal}, timeout=settings.patience.tick, return_when=asyncio.FIRST_COMPLETED)
                if signal.done():
                    signal.result()()
                if is_to_let_go(folder):
                    let_go(folder)
                    hint = f"`lorry attach {folder.id}` takes it up again"
                    raise DetachedError("let go by another command", hint=hint)
            return work.result()
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)


async def control(folder: RunFolder, show: Show, settings: Settings, shared: Shared | None = None) -> Event:
    """The same within a loop that controls other runs too, which have `shared` in common."""
    if shared is not None:
        return await _controlled(folder, show, settings, shared)
    return await _alone(folder, show, settings)


async def _alone(folder: RunFolder, show: Show, settings: Settings, then: Sequence[RunFolder] = ()) -> Event:
    """The same in a process with no other run but those that come after it."""
    alone = Shared.open()
    # Only the first: a machine that waits for a later one would bill meanwhile.
    for one in then[:1]:
        alone.succession.add(_candidate(one, alone))
    rows = asyncio.create_task(alone.rows.keep())
    try:
        return await _controlled(folder, show, settings, alone)
    finally:
        rows.cancel()
        await asyncio.gather(rows, return_exceptions=True)
        await alone.close()


def _candidate(folder: RunFolder, shared: Shared) -> Candidate:
    """A run that is not under way yet, as one that a machine may be handed to."""
    facts = json.loads(folder.resolved.read_text(encoding="utf-8"))
    recipe = Recipe.model_validate(facts["recipe"])
    providers = shared.providers(recipe.compute.on)
    return Candidate(folder.id, recipe, needs.load(folder), providers, facts.get("agreed_usd"))


async def _controlled(folder: RunFolder, show: Show, settings: Settings, shared: Shared) -> Event:
    with held(folder):
        await asyncio.to_thread(shared.store.update, folder.id, **_mine())
        run = await asyncio.to_thread(RunAtHome, folder, show, shared.rows)
        key = await asyncio.to_thread(ssh.installation_key, home())
        providers = await asyncio.to_thread(shared.providers, run.recipe.compute.on)
        renting = Renting(run, providers, shared.leases, key, settings.clock, shared=shared)
        shared.rows.held.add(folder.id)
        try:
            return await Rented(renting, settings.patience).carry_out()
        finally:
            await asyncio.to_thread(shared.rows.leave, folder.id)
            await run.keep_beat(now=True)
            await asyncio.to_thread(run.close)


def is_controlled(folder: RunFolder) -> bool:
    """Whether a live process controls this run now."""
    try:
        with FileLock(_lock(folder), timeout=0):
            return False
    except Timeout:
        return True


def uncontrolled(rows: Iterable[RunRow]) -> list[RunFolder]:
    """Rented runs that have not ended and that nobody controls."""
    under_way = [row for row in rows if row.status in (*UNDER_WAY, "interrupted")]
    found = [RunFolder(row.folder) for row in under_way]
    return [folder for folder in found if folder.is_rented and not has_ended(folder) and not is_controlled(folder)]


def has_ended(folder: RunFolder) -> bool:
    """Whether the run's last event says that it is over."""
    found = last(folder.events)
    return found is not None and found.kind in ENDINGS


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


class InTurn:
    """Runs that this process carries out one after another, and keeps from all other processes until then."""

    def __init__(self) -> None:
        self._left: list[RunFolder] = []
        self._locks: dict[str, ExitStack] = {}

    def __enter__(self) -> InTurn:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for lock in self._locks.values():
            lock.close()

    def keep(self, folder: RunFolder) -> None:
        """Keeps a run, as the last one. Raises RefusedError where another process controls it."""
        lock = self._locks[folder.id] = ExitStack()
        lock.enter_context(held(folder))
        self._left.append(folder)

    def begin(self, folder: RunFolder) -> list[RunFolder]:
        """Lets go of the run whose turn it is, for it to be controlled; those that come after it, in order."""
        self._left.remove(folder)
        self._locks[folder.id].close()
        return list(self._left)


@contextmanager
def held(folder: RunFolder) -> Generator[None]:
    """Within, this process controls the run. Raises RefusedError where another one does."""
    lock = FileLock(_lock(folder), timeout=_BRIEF)
    try:
        lock.acquire()
    except Timeout as error:
        hint = f"follow it: `lorry attach {folder.id}`"
        raise RefusedError(f"another process controls `{folder.id}`", hint=hint) from error
    try:
        yield
    finally:
        with suppress(OSError):
            lock.release()


def _lock(folder: RunFolder) -> Path:
    return folder.path / "controller.lock"


def _mine() -> Changes:
    return Changes(status="running", pid=os.getpid(), pid_started=started(os.getpid()))
