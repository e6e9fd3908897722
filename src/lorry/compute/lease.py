"""The life of a lease: written before its machine is asked for, ended until the provider confirms it.

Nothing here decides; `recovery` does. Everything here can be done twice.
"""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

from lorry import units
from lorry.compute.control.watch import Watch
from lorry.compute.outcomes import Outcome, OutcomeError
from lorry.compute.providers._base import Machine, Order, Provider
from lorry.errors import LorryError, MayBillError
from lorry.track.leases import LeaseRow, Leases

PREFIX = "lorry-"
SETTLING = 120.0
"""Seconds for which a machine that was asked for without an answer may still turn up in the provider's list."""
SHORTLY = 15.0
"""Seconds for which a run waits for such a machine; after that another one is looked for, and it is ended if it turns up."""
_ASKING = 60.0
"""Seconds after which no request for a machine is under way any more; providers are given no longer for their answer."""
_LOOKS = 10.0
"""Longest pause between two looks, in seconds."""
_WAITING = 1.5
"""Seconds that a listing is good for while a machine is waited for."""


@dataclass(frozen=True)
class Clock:
    """Time as leases see it; tests give their own."""

    now: Callable[[], float] = time.time
    sleep: Callable[[float], Any] = asyncio.sleep


def name_for(run_id: str) -> str:
    """A name that no machine had before, and that a person recognises: `lorry-3f9a1c2e-qwen3-qlora-r16`."""
    readable = re.sub(r"[^a-z0-9-]", "-", run_id.lower())[:40].strip("-")
    return f"{PREFIX}{uuid4().hex[:8]}-{readable}"


@dataclass
class Lease:
    """A machine for one attempt. One process holds it at a time: the one that holds its run."""

    row: LeaseRow
    provider: Provider
    leases: Leases
    clock: Clock = field(default_factory=Clock)
    unanswered: float | None = None
    """Since when it is not known whether a machine was made."""
    times_dearer: float = 1.0
    """What its machine costs, against what was offered; more than 1 only."""
    watch: Watch | None = None
    """The look that it shares with the account's other leases; None for looks of its own."""

    @property
    def name(self) -> str:
        """What the machine is called at its provider."""
        return self.row.name

    @property
    def bills(self) -> bool:
        """Whether its machine costs money while it is there."""
        return self.provider.capabilities.bills

    def write(self, **changes: Any) -> None:
        """Changes the row, on disk when this returns."""
        self.row = self.leases.change(self.row.name, **changes)

    async def ask(self, order: Order) -> Machine:
        """Asks for the machine, once. Raises OutcomeError; the lease is closed then where surely none was made."""
        try:
            machine = await self.provider.create(order)
        except OutcomeError as error:
            if error.outcome is not Outcome.UNCERTAIN:
                self._close(error.outcome, error.message)
            self.unanswered = self.clock.now()
            raise
        self.took(machine)
        return machine

    def took(self, machine: Machine) -> None:
        """Writes down that the provider has a machine of this name, and for how long it may be kept at its true price."""
        # Of one that was found only later nobody knows since when it bills; it was not before it was asked for.
        unknown = self.clock.now() if self.unanswered is None else self.row.asked_at
        since = self.row.rented_at or machine.created_at or unknown
        # The provider's clock may be ahead; nothing was rented before it was asked for.
        began = min(max(since, self.row.asked_at), self.clock.now())
        price = machine.usd_per_hour if machine.state in ("starting", "running") else 0.0
        facts = {"machine_id": machine.id, "rented_at": began, "usd_per_hour": price or self.row.usd_per_hour}
        if self.bills and not self.row.machine_id and 0 < self.row.usd_per_hour < price:
            self.times_dearer = price / self.row.usd_per_hour
            facts |= {"deadline": self._affordable(began)}
        # One that is to be ended stays so: nobody may take it up to train on.
        self.note(**facts, **({} if self.row.state == "ending" else {"state": "rented"}))

    def _affordable(self, began: float) -> float | None:
        """The deadline of a machine that costs more than was offered: never later than the one that it was asked for with."""
        if self.row.deadline is None:
            return None
        seconds = (self.row.deadline - self.row.asked_at) / self.times_dearer
        return min(self.row.deadline, began + seconds)

    def note(self, **changes: Any) -> None:
        """Changes the row, here at least: a store that cannot be written must not keep a machine from being ended."""
        try:
            self.write(**changes)
        except (LorryError, OSError):
            self.row = replace(self.row, **changes)

    async def reconcile(self, *, seconds: float = math.inf) -> Machine | None:
        """The machine of this name, looked for in the provider's list; None where there is none.

        A create that was cut off may take effect later: until `SETTLING` seconds after its answer was lost, no machine is no
        answer. Then the lease is closed; it stays open where none has turned up within `seconds`. Raises OutcomeError where
        the provider does not answer.
        """
        until = self.clock.now() + seconds
        if self.unanswered is None:
            # Under another controller that died: counted from now on, it would never settle where they die often.
            self.unanswered = min(self.clock.now(), self.row.asked_at + _ASKING)
        for pause in _growing():
            named = [one for one in await self.provider.list() if one.name == self.name]
            if named:
                self.took(named[0])
                for spare in named[1:]:  # never made by us, and billed to us
                    await self.provider.end(spare.id)
                return named[0]
            if self.clock.now() - self.unanswered >= SETTLING:
                self._close(Outcome.NO_CAPACITY, "no machine was made")
                return None
            if self.clock.now() >= until:
                return None
            await self.clock.sleep(pause)
        raise AssertionError("pauses never run out")

    async def look(self) -> Machine | None:
        """The machine as its provider has it now, with its address; None where the provider says that it is gone.

        Until it runs, one listing tells all who wait for machines of the account.
        """
        seen = await self.seen(within=_WAITING)
        if seen is None or seen.state != "running" or self.watch is None:
            return seen
        machine = await self.provider.find(self.row.machine_id)
        return None if machine is None or machine.state == "ended" else machine

    async def seen(self, *, within: float | None = None) -> Machine | None:
        """The machine as it was some seconds ago: for following. None where it is gone."""
        if self.watch is None:
            machine = await self.provider.find(self.row.machine_id)
        else:
            machine = await self.watch.find(self.row.machine_id, within=within)
        return None if machine is None or machine.state == "ended" else machine

    def is_within(self, seconds: float) -> bool:
        """Whether the machine's deadline is no further away."""
        return self.row.deadline is not None and self.clock.now() >= self.row.deadline - seconds

    def give_up(self, outcome: Outcome, why: str = "") -> None:
        """Writes down that the machine is to be ended; the first reason stays. A lease that is closed stays as it is."""
        if self.row.is_open:
            self.note(state="ending", outcome=self.row.outcome or outcome.name, why=self.row.why or why[:500])

    async def end(self, outcome: Outcome, why: str = "", *, seconds: float = 600.0) -> None:
        """Ends the machine, and asks until the provider confirms that it is gone.

        Tries for `seconds`; raises MayBillError then, with the machine, its price and how to end it by hand. The row stays
        open, so that whoever comes next tries again. A lease that is closed already stays as it is.
        """
        if not self.row.is_open:
            return
        self.give_up(outcome, why)
        until = self.clock.now() + seconds
        trouble = ""
        for pause in _growing():
            try:
                if await self._is_gone():
                    return
            except OutcomeError as error:
                trouble = error.message
                pause = max(pause, min(error.retry_after or 0.0, 60.0))  # noqa: PLW2901 - the provider's own word
            if self.clock.now() >= until:
                raise self.may_bill(trouble)
            await self.clock.sleep(pause)

    async def _is_gone(self) -> bool:
        """Asks for the end once, and whether it has come."""
        if not self.row.machine_id:
            await self.reconcile()
            if not self.row.is_open:
                return True
        await self.provider.end(self.row.machine_id)
        machine = await self.provider.find(self.row.machine_id)
        if machine is not None and machine.state != "ended":
            return False
        self.closed()
        return True

    def closed(self) -> None:
        """Writes down that the provider has confirmed that there is no machine (any more)."""
        self.note(state="ended", ended_at=self.clock.now())

    def may_bill(self, trouble: str = "") -> MayBillError:
        """What a person must know while nobody has confirmed that the machine is gone."""
        row = self.row
        what = f"`{row.machine_id or row.name}` at {row.provider}"
        said = f" ({trouble})" if trouble else ""
        message = (
            f"the machine {what} may still bill {units.money(row.usd_per_hour)} an hour: its end is not confirmed{said}"
        )
        return MayBillError(message, hint=f"{self.provider.by_hand(row.machine_id or row.name)}; or `lorry reap`")

    def _close(self, outcome: Outcome, why: str) -> None:
        self.note(state="ended", ended_at=self.clock.now(), outcome=outcome.name, why=why[:500])


def drafted(run_id: str, attempt: int, order: Order, provider: Provider) -> LeaseRow:
    """The row of a machine that is about to be asked for."""
    offer = order.offer
    return LeaseRow(
        name=order.name,
        run_id=run_id,
        attempt=attempt,
        provider=provider.name,
        settings=provider.model_dump(mode="json"),
        described=offer.name,
        host=offer.machine,
        gpu=offer.gpu.name if offer.gpu else "",
        usd_per_hour=order.bid or offer.usd_per_hour.likely,
        on_demand_usd_per_hour=offer.on_demand,
        interruptible=order.bid is not None or offer.interruptible,
    )


def begun(row: LeaseRow, provider: Provider, leases: Leases, clock: Clock | None = None) -> Lease:
    """A lease that is written down, with its machine not asked for yet."""
    clock = clock or Clock()
    asked = replace(row, asked_at=clock.now())
    leases.add(asked)
    return Lease(asked, provider, leases, clock)


def _growing() -> Iterator[float]:
    """Pauses in seconds: 0.5, 0.75, ... up to ten."""
    pause = 0.5
    while True:
        yield pause
        pause = min(1.5 * pause, _LOOKS)
