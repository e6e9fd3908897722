"""Hosts that one has already: a box under the desk, a notebook's machine, an instance that was rented by hand.

Nothing is rented and nothing is ended: a host is taken while a run's lease on it is open, and free again after. What GPU it has
is read once somebody is there.
"""

from __future__ import annotations

import asyncio
import getpass
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, ClassVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, PrivateAttr

from lorry.compute.outcomes import Outcome, OutcomeError
from lorry.compute.providers._answers import said
from lorry.compute.providers._base import Address, Capabilities, Machine, Order, Provider, Texts, Wanted
from lorry.plan.offers import Offer
from lorry.plan.ranges import Range
from lorry.track.leases import Leases

_BANNER_WITHIN = 10.0


def address_of(host: str) -> Address:
    """`user@host:port` in its parts; the user is this computer's, the port 22 where none is given. Raises ValueError."""
    parts = urlsplit(f"ssh://{host}")
    if not parts.hostname or parts.path or parts.query or parts.fragment or parts.password or host.startswith("-"):
        raise ValueError(f"`{host[:200]}` is not of the form user@host:port")
    if any(not char.isprintable() or char.isspace() for char in host) or parts.hostname.startswith("-"):
        raise ValueError("a host's name has no spaces, and begins with no `-`")
    return Address(parts.hostname, parts.port or 22, parts.username or getpass.getuser())


def _checked(hosts: list[str]) -> list[str]:
    for host in hosts:
        address_of(host)
    if len(set(hosts)) < len(hosts):
        raise ValueError("names one of them twice")
    return hosts


class Ssh(Provider):
    """Hosts that answer SSH: your own, or rented by hand; several are a pool, each for one run at a time."""

    capabilities: ClassVar[Capabilities] = Capabilities(bills=False)
    hosts: Annotated[Texts, Field(min_length=1), AfterValidator(_checked)]
    """`user@host:port`; the user is yours here, and the port 22, where none is given."""
    usd_per_hour: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """What each of them costs you, in US dollars an hour."""
    _taken: dict[str, str] = PrivateAttr(default_factory=dict[str, str])
    """Name of the order by host, in this process."""
    _left: set[str] = PrivateAttr(default_factory=set[str])
    """Names of the orders whose hosts this process has given back."""
    _leases: Leases | None = PrivateAttr(default=None)

    async def offers(self, wanted: Wanted) -> list[Offer]:
        """The hosts that no lease is open on. What they have is not known yet: `memory` is 0 and `gpu` None."""
        if wanted.interruptible == "only" or wanted.volume:
            return []
        names = await self._names()
        return [self._offer(host) for host in self.hosts if host not in names]

    async def create(self, order: Order) -> Machine:
        """Takes a host. Raises OutcomeError NO_CAPACITY where another run has it, REQUEST_WRONG where it is not in the pool."""
        host = order.offer.key
        if host not in self.hosts:
            raise OutcomeError(Outcome.REQUEST_WRONG, f"`{host}` is none of the hosts")
        by = self._taken.get(host) or (await self._names()).get(host, order.name)
        if by != order.name:
            raise OutcomeError(Outcome.NO_CAPACITY, f"`{host}` is taken by `{by}`")
        self._taken[host] = order.name
        return self._machine(host, order.name)

    async def find(self, machine_id: str) -> Machine | None:
        """The host, as long as it is taken."""
        name = (await self._names()).get(machine_id)
        return self._machine(machine_id, name) if name is not None and machine_id in self.hosts else None

    async def list(self) -> Sequence[Machine]:
        """The hosts that are taken."""
        return [self._machine(host, name) for host, name in (await self._names()).items() if host in self.hosts]

    async def end(self, machine_id: str) -> None:
        """Gives the host back; it runs on."""
        name = (await self._names()).get(machine_id)
        self._taken.pop(machine_id, None)
        if name is not None:
            self._left.add(name)

    async def account(self) -> str:
        """Which hosts answer SSH. Raises OutcomeError API_DOWN where none does."""
        answers = await asyncio.gather(*(_banner(address_of(host)) for host in self.hosts))
        told = [f"{host}: {answer or 'no answer'}" for host, answer in zip(self.hosts, answers, strict=True)]
        if not any(answers):
            hint = "does `ssh` from here reach it?"
            raise OutcomeError(Outcome.API_DOWN, f"no host answers SSH ({'; '.join(told)})", hint=hint)
        return "; ".join(told)

    def by_hand(self, machine_id: str) -> str:
        """Lorry rented nothing there."""
        return f"`{machine_id}` is yours, and stays as it is; end it where you rented it"

    async def _names(self) -> dict[str, str]:
        """Who has each host that is taken, here and in other processes' leases."""
        rows = await asyncio.to_thread(self._opened)
        return {host: name for host, name in rows.items() if name not in self._left} | self._taken

    def _opened(self) -> dict[str, str]:
        if self._leases is None:
            self._leases = Leases.open()
        rows = [row for row in self._leases.opened() if row.provider == self.name and row.state != "ending"]
        return {row.machine_id or row.host: row.name for row in rows if row.machine_id or row.host}

    def _offer(self, host: str) -> Offer:
        return Offer("ssh", host, None, 0, Range.exact(self.usd_per_hour), key=host, source="usd_per_hour")

    def _machine(self, host: str, name: str) -> Machine:
        return Machine(host, name, "running", self.usd_per_hour, address_of(host))


async def _banner(address: Address) -> str:
    """What an SSH server says first; empty where there is none within ten seconds."""
    with suppress(OSError, TimeoutError, ValueError):
        async with asyncio.timeout(_BANNER_WITHIN):
            reader, writer = await asyncio.open_connection(address.host, address.port, limit=1024)
            try:
                line = (await reader.readline()).decode("ascii", "replace").strip()
                return said(line) if line.startswith("SSH-") else ""
            finally:
                writer.close()
    return ""
