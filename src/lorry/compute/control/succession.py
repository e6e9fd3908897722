"""Runs that wait for a machine: who is next when one is handed on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from lorry.compute.needs import Needs
from lorry.compute.providers._base import Provider
from lorry.recipe.schema import Recipe


@dataclass(frozen=True)
class Candidate:
    """A run that waits for a machine."""

    run_id: str
    recipe: Recipe
    needs: Needs
    providers: Sequence[Provider] = field(compare=False)
    """That it may rent from."""
    agreed_usd: float | None = None
    """What a person has agreed to spend on it at most; None where nobody was asked."""


@dataclass
class Succession:
    """Runs of this process that wait for a machine, who has waited longest first."""

    _waiting: dict[str, tuple[Candidate, asyncio.Event]] = field(
        default_factory=dict[str, "tuple[Candidate, asyncio.Event]"]
    )

    def add(self, candidate: Candidate) -> None:
        """Has a run wait that is not under way yet; it finds its machine in the store when it is."""
        self._waiting[candidate.run_id] = (candidate, asyncio.Event())

    async def wait(self, candidate: Candidate, pause: Awaitable[Any]) -> bool:
        """Waits until the pause is over, or a machine is handed over, and whether one was."""
        given = asyncio.Event()
        self._waiting[candidate.run_id] = (candidate, given)
        tasks = [asyncio.ensure_future(pause), asyncio.ensure_future(given.wait())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            return given.is_set()
        finally:
            self._waiting.pop(candidate.run_id, None)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def first(self, fits: Callable[[Candidate], bool]) -> Candidate | None:
        """Who has waited longest of those whom a machine fits."""
        return next((candidate for candidate, _ in self._waiting.values() if fits(candidate)), None)

    def give(self, candidate: Candidate) -> None:
        """Tells a run that a machine is its own now."""
        _, given = self._waiting.pop(candidate.run_id)
        given.set()
