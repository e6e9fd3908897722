"""Looking for a machine at a provider that has none to give, with time that nobody waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import PrivateAttr

import tiny_runs
from lorry.compute import ssh
from lorry.compute.control.at_home import RunAtHome
from lorry.compute.control.renting import NothingFound, Renting
from lorry.compute.lease import Clock
from lorry.compute.outcomes import Outcome, OutcomeError
from lorry.compute.providers._base import Capabilities, Machine, Order, Wanted
from lorry.plan.offers import Offer
from lorry.plan.ranges import Range
from lorry.track.folder import home
from lorry.track.leases import Leases
from renting import NOON
from sheds.shed import Shed

HOUR = 3600.0


class Busy(Shed):
    """A provider that asks everybody to wait, be it for its list or for each of its three machines."""

    capabilities: ClassVar[Capabilities] = Capabilities(bills=False)
    listed: bool = False
    _asked: list[str] = PrivateAttr(default_factory=list[str])

    async def offers(self, wanted: Wanted) -> list[Offer]:  # noqa: ARG002
        """Three machines, or none."""
        if not self.listed:
            raise OutcomeError(Outcome.BUSY, "too many requests", retry_after=30.0)
        return [Offer("ssh", str(at), None, 0, Range.exact(0.0), key=str(at)) for at in range(3)]

    async def create(self, order: Order) -> Machine:
        """Never."""
        self._asked.append(order.offer.key)
        raise OutcomeError(Outcome.BUSY, "too many requests", retry_after=30.0)


Busy.name = "ssh"


class Time:
    """Seconds that pass when somebody sleeps, and come to an end."""

    def __init__(self) -> None:
        self.passed = 0.0

    async def sleep(self, seconds: float) -> None:
        self.passed += seconds
        assert self.passed < 10 * HOUR, "it waits for ever"


def look(folder: Path, provider: Busy, wait_hours: float) -> tuple[NothingFound, Time, Sequence[str]]:
    """What a run finds there, when, and what it was told meanwhile."""
    compute: dict[str, Any] = {"on": ["ssh:somebody@localhost"], "gpu": ["cpu"], "wait_hours": wait_hours}
    told: list[str] = []
    at_home = RunAtHome(
        tiny_runs.begin(tiny_runs.recipe(folder, compute=compute)).folder, lambda one: told.append(one.kind)
    )
    time = Time()
    clock = Clock(lambda: NOON + time.passed, time.sleep)
    renting = Renting(at_home, [provider], Leases.open(), ssh.installation_key(home()), clock)
    found = asyncio.run(renting.rent("never"))
    assert isinstance(found, NothingFound)
    return found, time, told


@pytest.mark.parametrize("listed", [False, True])
def test_provider_that_is_always_busy_is_waited_for_as_for_one_without_machines(tmp_path: Path, listed: bool):
    found, time, told = look(tmp_path, Busy(listed=listed), wait_hours=2)
    assert (found.outcome, found.why) == (Outcome.NO_CAPACITY, "too many requests")
    assert 2 * HOUR <= time.passed <= 2.1 * HOUR
    assert told.count("waiting") == 1


def test_busy_provider_is_asked_for_one_offer_at_a_time(tmp_path: Path):
    provider = Busy(listed=True)
    look(tmp_path, provider, wait_hours=2)
    assert set(provider._asked) == {"0"}


def test_provider_that_stays_busy_is_given_up_at_once_where_nobody_waits(tmp_path: Path):
    found, time, told = look(tmp_path, Busy(), wait_hours=0)
    assert found.outcome is Outcome.NO_CAPACITY
    assert 0.1 * HOUR < time.passed < HOUR, "after the tries that a busy minute deserves"
    assert "waiting" not in told
