"""Small real providers whose machines stand nowhere, and runs at home that rent from them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import run_folders
from lorry.compute import needs
from lorry.compute.control.at_home import RunAtHome
from lorry.compute.control.renting import Renting
from lorry.compute.needs import Needs, OnGpu
from lorry.compute.outcomes import Outcome, OutcomeError
from lorry.compute.providers._base import Capabilities, Machine, Order, Provider, Wanted
from lorry.compute.transport.link import KeyPair
from lorry.plan import gpus
from lorry.plan.offers import Offer
from lorry.plan.ranges import Range
from lorry.track.folder import RunFolder, home, write_json
from lorry.track.leases import Leases

CARD = gpus.get("RTX 4090")


def offer(provider: str = "stall", usd: float = 1.0) -> Offer:
    """A machine with one RTX 4090."""
    return Offer(provider, CARD.name, CARD, CARD.memory, Range.exact(usd), key=f"{provider}-1")


class Stall(Provider):
    """One machine at one price."""

    name: ClassVar[str] = "stall"
    capabilities: ClassVar[Capabilities] = Capabilities()
    usd: float = 1.0
    refuses: str = ""
    """The name of the outcome of each request for it; empty where it is given."""
    silent: str = ""
    """The same of each question for offers."""

    async def offers(self, wanted: Wanted) -> list[Offer]:  # noqa: ARG002
        """What it has."""
        if self.silent:
            raise OutcomeError(Outcome[self.silent], f"{self.name} does not say what it has")
        return [offer(self.name, self.usd)]

    async def create(self, order: Order) -> Machine:
        """Gives it to whoever asks."""
        if self.refuses:
            raise OutcomeError(Outcome[self.refuses], f"{self.name} refuses")
        return Machine("m-1", order.name, "starting", self.usd)

    async def find(self, machine_id: str) -> Machine | None:  # noqa: ARG002
        """Nothing stays."""
        return None

    async def list(self) -> Sequence[Machine]:
        """Nothing stays."""
        return []

    async def end(self, machine_id: str) -> None:
        """Nothing stays."""

    async def account(self) -> str:
        """Anybody's."""
        return "anybody"

    def by_hand(self, machine_id: str) -> str:
        """There is nothing to end."""
        return f"stall end {machine_id}"


class Booth(Stall):
    """The same with another name."""

    name: ClassVar[str] = "booth"


def folder(path: Path, *, agreed_usd: float | None = None, **compute: Any) -> RunFolder:
    """The folder of a run that waits for a machine with one RTX 4090 on which it takes ten minutes."""
    recipe = {**run_folders.RECIPE, "compute": {"gpu": [CARD.name], **compute}}
    found = RunFolder(path)
    write_json(found.resolved, {"recipe": recipe, "agreed_usd": agreed_usd})
    needs.save(found, Needs(on={CARD.name: OnGpu(600.0, 1200.0)}))
    return found


def renting(place: RunFolder, *providers: Provider) -> Renting:
    """The run's search for a machine."""
    return Renting(
        RunAtHome(place, lambda _event: None), providers, Leases.open(), KeyPair(home() / "key", "ssh-ed25519 A")
    )
