"""Checkpoints on their way home while a machine trains: the newest first, then the best, then all others that it has."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from lorry.compute.control import copies
from lorry.compute.control.at_home import RunAtHome
from lorry.compute.machine import fetching
from lorry.compute.machine.bounds import MOST_STEPS
from lorry.compute.machine.fetching import Source
from lorry.compute.outcomes import Outcome, OutcomeError
from lorry.errors import LorryError
from lorry.trainer.checkpoint import steps


class Bringing:
    """What one machine has, and what of it is to come home."""

    def __init__(self, home: RunAtHome, lease: str) -> None:
        self._home = home
        self._lease = lease
        self._there: set[int] = set()
        self._new = asyncio.Event()
        self._has_warned = False

    def listed(self, there: Iterable[int]) -> None:
        """Takes in which checkpoints the machine says that it has now."""
        self._there = self._possible(there)
        self._new.set()

    async def go_on(self, source: Callable[[], Awaitable[Source | None]]) -> None:
        """Brings what is new, each time that something is, until cancelled. Raises OutcomeError but for a lost connection."""
        while True:
            await self._new.wait()
            self._new.clear()
            try:
                at = await source()
                if at is not None:
                    await self._bring_all(at)
            except OutcomeError as error:
                if error.outcome is not Outcome.SSH_DOWN:
                    raise

    async def at_the_end(self, at: Source, *, only_newest: bool) -> None:
        """Brings everything that the machine has, or only the newest, the newest first; nothing new is made there any more."""
        there = sorted(self._possible(await fetching.complete(at)), reverse=True)
        for step in there[:1] if only_newest else there:
            await self.bring(at, step)
        if not only_newest:
            await self._forget(set(there))

    async def bring(self, at: Source, step: int) -> bool:
        """Brings a checkpoint home; whether it is new here. Where this computer has no room it stays there, with a warning."""
        try:
            is_new = bool(step) and await fetching.copy_checkpoint(at, step, self._home.folder)
        except OutcomeError:
            raise
        except LorryError as error:
            self._warn(f"the checkpoint of step {step} is not copied home: {error.message}")
            return False
        if is_new:
            self._home.tell("copied", step=step, path=f"checkpoints/step-{step:06d}")
        return is_new

    async def _bring_all(self, at: Source) -> None:
        missed: set[int] = set()
        while (step := self._wanted(missed)) is not None:
            if await self.bring(at, step):
                await copies.copy_on(self._home, step)
            else:
                missed.add(step)
        await self._forget(set(self._there))

    async def _forget(self, there: set[int]) -> None:
        brought = self._home.known.brought_by(self._lease)
        await asyncio.to_thread(fetching.forget, self._home.folder, there, brought)

    def _wanted(self, missed: set[int]) -> int | None:
        """The next of those that the machine has and this computer has not; what was made meanwhile counts.

        The newest; but where a newer one than the best is here, the best: nobody can go on from the one without the other.
        """
        here = set(steps(self._home.folder.checkpoints))
        wanted = self._there - missed - here
        best = next((step for step in self._home.ranked if step in self._there), None)
        if best in wanted and best < max(here, default=0):
            return best
        return max(wanted, default=None)

    def _possible(self, there: Iterable[int]) -> set[int]:
        """Those of steps that the run has: whoever trains next would take a later one for the end of the run."""
        most = self._home.known.steps or MOST_STEPS
        return {step for step in there if 0 < step <= most}

    def _warn(self, message: str) -> None:
        if not self._has_warned:
            self._has_warned = True
            self._home.tell("warning", message=message)
