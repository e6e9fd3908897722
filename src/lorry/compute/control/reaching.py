"""Reaching a machine: a connection at the address that it has now, and what its provider says where there is none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from lorry.compute import ssh
from lorry.compute.control import watch
from lorry.compute.control.verdicts import stands_still
from lorry.compute.lease import Lease
from lorry.compute.outcomes import Outcome, OutcomeError
from lorry.compute.providers._base import Address
from lorry.compute.recovery import Phase
from lorry.visible import clean

_CONTACT = 60.0
"""Seconds between two signs of life to the dead-man switch."""


@dataclass(frozen=True)
class Patience:
    """How long things are waited for, in seconds."""

    ready: float = 600.0
    """From a machine's creation to its first SSH session."""
    silence: float = 1800.0
    """While a machine is said to run and does not answer; it trains on meanwhile."""
    pause: float = 5.0
    """The longest between two tries to reach it."""
    ending: float = 600.0
    """For a provider to confirm that a machine is gone, before a person is told that it may still bill."""
    tick: float = 0.5
    """Between two looks at what a person asks for, and at the clock."""


@dataclass
class Reach:
    """The way to a machine; one connection at a time."""

    lease: Lease
    key: ssh.KeyPair
    patience: Patience
    phase: Callable[[], Phase]
    """How far the attempt has come."""
    link: ssh.Link | None = None
    """The last connection, open or not."""

    def __post_init__(self) -> None:
        self._runs = False
        self._heard = float("inf")
        self._contact: asyncio.Task[None] | None = None

    def hear(self) -> None:
        """Notes that the machine has told something."""
        self._heard = asyncio.get_running_loop().time()

    def keep_contact(self) -> None:
        """Begins to give signs of life to the dead-man switch, until this is closed."""
        if self._contact is None:
            self._contact = asyncio.create_task(self._contacts())

    async def close(self) -> None:
        """Gives the connection back; the machine goes on."""
        if self._contact is not None:
            self._contact.cancel()
            await asyncio.gather(self._contact, return_exceptions=True)
        if self.link is not None:
            await self.link.close()

    async def connected(self) -> ssh.Link:
        """A connection to the machine, at the address that it has now. Raises OutcomeError where there will be none."""
        if self.link is not None:
            if self.link.is_open:
                return self.link
            await self.link.close()
        is_new = self.phase() is Phase.PREPARING
        seconds = self._ready_within() if is_new else self.patience.silence
        known = self.lease.row.host_key or None
        self._runs = False
        try:
            link = await ssh.until_ready(self._address, self.key, known, seconds=seconds, pause=self._pause)
        except OutcomeError as error:
            if error.outcome is not Outcome.NEVER_READY:
                raise
            if not is_new and not self._runs:
                # Neither machine nor provider answers: it is this computer's network that is down, and training goes on.
                raise OutcomeError(Outcome.SSH_DOWN, error.message) from error
            outcome = Outcome.NEVER_READY if is_new else Outcome.HOST_LOST
            raise OutcomeError(outcome, await self._last_lines() or error.message) from error
        if known is None:
            await asyncio.to_thread(lambda: self.lease.note(host_key=link.host_key))
        self.link = link
        return link

    def _ready_within(self) -> float:
        """Seconds that a new machine still has; some are left to each controller, or the death of one would be its fault."""
        now = self.lease.clock.now()
        return max(self.patience.ready - (now - (self.lease.row.serving_since or now)), 0.2 * self.patience.ready)

    async def _pause(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, self.patience.pause))

    async def _address(self) -> Address | None:
        """Where the machine answers now. Raises OutcomeError where it never will."""
        try:
            machine = await self.lease.look()
        except OutcomeError:
            return None  # whatever keeps the provider from answering says nothing of the machine
        still = stands_still(machine, self.phase())
        if still is not None:
            raise still
        self._runs = True
        return machine.address if machine else None

    async def look_after(self) -> None:
        """Notices a silent machine that its provider says is gone: a connection may not tell that for a minute."""
        was_still = False
        while True:
            await asyncio.sleep(watch.EVERY)
            silent = asyncio.get_running_loop().time() - self._heard
            if self.phase() is Phase.PREPARING or silent < watch.EVERY:
                was_still = False
                continue
            still: OutcomeError | None = None
            with suppress(OutcomeError):
                still = stands_still(await self.lease.seen(), self.phase())
            # The last word of a machine that is taken back may still be on its way.
            if still is not None and was_still:
                raise still
            was_still = still is not None

    async def _last_lines(self) -> str:
        """What the machine printed last, where its provider tells."""
        if not self.lease.provider.capabilities.logs:
            return ""
        lines: list[str] = []
        with suppress(OutcomeError, TimeoutError):
            async with asyncio.timeout(5):
                async for _mark, line in self.lease.provider.logs(self.lease.row.machine_id):
                    lines.append(line)
        return clean("; ".join(lines[-3:]))[:500]

    async def _contacts(self) -> None:
        """Has the dead-man switch know that somebody is there, also while an hour of files goes over."""
        while True:
            await asyncio.sleep(_CONTACT)
            if self.link is not None and self.link.is_open:
                with suppress(OutcomeError, TimeoutError):
                    await self.link.run('touch "$HOME/.lorry/contact"', seconds=20)
