"""A provider whose machines are lines of a JSON file, so that another process, or the next command, finds them too."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

from pydantic import PrivateAttr

from lorry.compute.outcomes import Outcome, OutcomeError
from lorry.compute.providers._base import Capabilities, Machine, Order, Provider, Volume, Wanted
from lorry.plan.offers import Offer
from lorry.secrets.found import secret


class Shed(Provider):
    """Machines in a file."""

    capabilities: ClassVar[Capabilities] = Capabilities(volumes=True)
    key: ClassVar[str] = "SHED_API_KEY"
    file: str = "/nowhere"
    """Where they stand; a file that is not there is an API that does not answer."""
    _asked: int = PrivateAttr(default=0)

    def put(self, *machines: Machine, **more: Any) -> None:
        """Makes these all that there is. `stubborn=2` fails the next two endings, `lazy=2` ends at the second look."""
        kept = {"machines": [asdict(one) for one in machines], "ended": [], "volumes": [], **more}
        Path(self.file).write_text(json.dumps(kept))

    def read(self) -> dict[str, Any]:
        """What the file says."""
        self._asked += 1
        if not secret(self.key):
            raise OutcomeError(Outcome.KEY_REFUSED, "SHED_API_KEY is not set", hint="set it")
        try:
            return json.loads(Path(self.file).read_text())
        except OSError as error:
            raise OutcomeError(Outcome.API_DOWN, f"shed does not answer: {error.strerror}") from error

    def _count_down(self, name: str) -> bool:
        kept = self.read()
        left = kept.get(name, 0)
        Path(self.file).write_text(json.dumps({**kept, name: max(0, left - 1)}))
        return left > 0

    async def offers(self, wanted: Wanted) -> list[Offer]:  # noqa: ARG002
        """None."""
        return []

    async def create(self, order: Order) -> Machine:  # noqa: ARG002
        """Never."""
        raise OutcomeError(Outcome.NO_CAPACITY)

    async def find(self, machine_id: str) -> Machine | None:
        """The machine of this id."""
        kept = self.read()
        if machine_id in kept["ended"] and not self._count_down("lazy"):
            kept["machines"] = [one for one in kept["machines"] if one["id"] != machine_id]
            Path(self.file).write_text(json.dumps(kept))
        return next((one for one in await self.list() if one.id == machine_id), None)

    async def list(self) -> Sequence[Machine]:
        """Every machine."""
        return [Machine(**{**one, "address": None}) for one in self.read()["machines"]]

    async def end(self, machine_id: str) -> None:
        """Takes it as ended, unless it is stubborn."""
        if self._count_down("stubborn"):
            raise OutcomeError(Outcome.API_DOWN, "shed fails to end it")
        kept = self.read()
        kept["ended"].append(machine_id)
        Path(self.file).write_text(json.dumps(kept))

    async def account(self) -> str:
        """Whose it is."""
        return "the shed's owner"

    async def volumes(self) -> Sequence[Volume]:
        """What the file says."""
        return [Volume(**one) for one in self.read()["volumes"]]

    def by_hand(self, machine_id: str) -> str:
        """The command."""
        return f"shed end {machine_id}"
