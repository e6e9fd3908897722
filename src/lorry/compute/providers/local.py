"""The computer at hand: nothing is rented, reached or ended."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from pydantic import PrivateAttr

from lorry.compute.providers._base import Capabilities, Machine, Order, Provider, Wanted
from lorry.plan import gpus, hardware
from lorry.plan.offers import Offer, this_computer
from lorry.plan.owning import Power


class Local(Provider):
    """The computer at hand, at the price of its electricity; a run on it goes through no connection."""

    capabilities: ClassVar[Capabilities] = Capabilities(bills=False)
    _taken: dict[str, str] = PrivateAttr(default_factory=dict[str, str])

    async def offers(self, wanted: Wanted) -> list[Offer]:
        """The computer at hand, if it has such a GPU, and as many."""
        if wanted.interruptible == "only" or wanted.volume:
            return []
        offer, count = await asyncio.to_thread(_this_computer)
        has_gpu = not wanted.gpus or offer.gpu in wanted.gpus
        fits = offer.memory >= wanted.memory and (count >= wanted.count or not count)
        return [replace(offer, key="local")] if has_gpu and fits and not (wanted.cpu and count) else []

    async def create(self, order: Order) -> Machine:
        """Takes note of who trains here; several may."""
        self._taken[order.name] = order.name
        return self._machine(order.name)

    async def find(self, machine_id: str) -> Machine | None:
        """What `create` returned, until it is ended; another process knows nothing of it."""
        return self._machine(machine_id) if machine_id in self._taken else None

    async def list(self) -> Sequence[Machine]:
        """What is taken note of."""
        return [self._machine(name) for name in self._taken]

    async def end(self, machine_id: str) -> None:
        """Forgets it: there is nothing to end."""
        self._taken.pop(machine_id, None)

    async def account(self) -> str:
        """What this computer is."""
        offer, count = await asyncio.to_thread(_this_computer)
        return f"this computer: {f'{count} x ' if count > 1 else ''}{offer.machine if count else hardware.processor()}"

    def by_hand(self, machine_id: str) -> str:
        """How a run here is ended."""
        return f"nothing is rented for `{machine_id}`: it runs on this computer"

    def _machine(self, name: str) -> Machine:
        return Machine(name, name, "running", 0.0)


def _this_computer() -> tuple[Offer, int]:
    """Its offer, and how many GPUs it has."""
    found, power = hardware.look(), Power()
    if not found.gpus:
        return this_computer(None, found.memory_free, power.usd_per_kwh), 0
    first = found.gpus[0]
    spec = gpus.at_hand(first.name, first.memory)
    return this_computer(spec, first.memory, power.usd_per_kwh, known_as=first.name), len(found.gpus)
