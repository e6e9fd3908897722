"""What every emulated cloud is: a fleet of machines behind an API, with a control API beside it."""

from __future__ import annotations

import asyncio
import secrets
import traceback
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from starlette.routing import BaseRoute

from lorry.emulators import account as accounts
from lorry.emulators.fleet import Fleet
from lorry.emulators.limits import Limits
from lorry.emulators.rental import Rental

_TICK = 0.1


class Cloud(ABC):
    """One emulated cloud with one customer."""

    name: ClassVar[str]

    def __init__(self, home: Path, *, key: str = "") -> None:
        """Opens the account in `home`, with the machines that are there. Raises InputError where no machine can be made."""
        self.account = accounts.load(home, key=key)
        self.fleet = Fleet(home, self.account, self.dress)
        self.limits = Limits(lambda: self.account.settings.requests_per_minute, self.fleet.now)
        self.base = ""
        """Where the server listens: `http://127.0.0.1:8011`."""
        self.closes = False
        """Whether the server is about to end: answers that go on for long end too."""

    @abstractmethod
    def routes(self) -> Sequence[BaseRoute]:
        """The API."""

    @abstractmethod
    def dress(self, rental: Rental) -> Mapping[str, str]:
        """What the cloud gives to the first process of a machine."""

    @abstractmethod
    def variables(self) -> dict[str, str]:
        """What a client needs to find it: the variables of the address and of the key."""

    @abstractmethod
    def told_state(self, rental: Rental) -> str:
        """A machine's state in the API's own word."""

    def move(self) -> None:  # noqa: B027 - most clouds have no market
        """Lets happen what the cloud's market does to machines; called several times a second."""

    async def run(self) -> None:
        """Moves all machines along, until cancelled. What goes wrong with one is written down, and holds no other up."""
        while True:
            try:
                self.move()
                await self.fleet.tick()
            except Exception:
                traceback.print_exc()
            await asyncio.sleep(_TICK)

    def owner(self, authorization: str) -> str | None:
        """Whose key a header bears: `account`, the id of a machine that is there, or None for nobody's."""
        kind, _, key = authorization.partition(" ")
        if kind.lower() != "bearer" or not key:
            return None
        if secrets.compare_digest(key.encode(), self.account.key.encode()):
            return "account"
        return next((one.id for one in self.fleet.there() if secrets.compare_digest(key, one.key)), None)
