"""Machines that are looked at together."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from clouds import runpod
from lorry.compute import market
from lorry.compute.control.watch import Watch
from lorry.compute.outcomes import OutcomeError
from lorry.compute.providers._base import Order, Provider, Wanted
from scripted import SECRET


class Counted:
    """A RunPod in memory that counts what it is asked, and may be down."""

    def __init__(self) -> None:
        self.cloud = runpod()
        self.asked: list[str] = []
        self.is_down = False
        self.now = 0.0

    def handle(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(f"{request.method} {request.url.path}")
        return httpx.Response(503) if self.is_down else self.cloud.handle(request)

    def provider(self) -> Provider:
        (made,) = market.providers([{"name": "runpod", "url": "https://api.runpod.io/v2"}])
        return made.through(httpx.MockTransport(self.handle), lambda _: asyncio.sleep(0))  # type: ignore[attr-defined]

    def clock(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNPOD_API_KEY", SECRET)


async def rented(provider: Provider, count: int) -> list[str]:
    offer = (await provider.offers(Wanted()))[0]
    return [(await provider.create(Order(f"lorry-{number}", offer, "img"))).id for number in range(count)]


def test_hundred_runs_that_look_at_once_are_one_request():
    counted = Counted()

    async def look() -> tuple[list[str], list[Any]]:
        provider = counted.provider()
        ids = await rented(provider, 100)
        counted.asked.clear()
        watch = Watch(provider, clock=counted.clock)
        return ids, await asyncio.gather(*(watch.find(one) for one in ids))

    ids, found = asyncio.run(look())
    assert [one.id for one in found] == ids
    assert counted.asked == ["GET /v2/pods"]


def test_listing_is_made_anew_when_it_is_old_or_forgotten():
    counted = Counted()

    async def look() -> None:
        provider = counted.provider()
        (one,) = await rented(provider, 1)
        watch = Watch(provider, every=10, clock=counted.clock)
        counted.asked.clear()
        for counted.now in (0, 9, 10):
            await watch.find(one)
        watch.forget()
        await watch.find(one)

    asyncio.run(look())
    assert len(counted.asked) == 3


def test_machine_that_is_not_listed_is_asked_for_before_it_counts_as_gone():
    counted = Counted()

    async def look() -> tuple[Any, Any]:
        provider = counted.provider()
        watch = Watch(provider, clock=counted.clock)
        await watch.find("nothing-yet")
        (one,) = await rented(provider, 1)
        there = await watch.find(one)
        await provider.end(one)
        watch.forget()
        return there, await watch.find(one)

    there, gone = asyncio.run(look())
    assert there is not None
    assert gone is None


def test_listing_that_fails_is_told_and_tried_again_by_the_next():
    counted = Counted()

    async def look() -> Any:
        provider = counted.provider()
        (one,) = await rented(provider, 1)
        watch = Watch(provider, clock=counted.clock)
        counted.is_down = True
        with pytest.raises(OutcomeError):
            await watch.find(one)
        counted.is_down = False
        return await watch.find(one)

    assert asyncio.run(look()) is not None


def test_who_waits_for_a_machine_is_told_of_a_newer_listing():
    counted = Counted()

    async def look() -> None:
        provider = counted.provider()
        (one,) = await rented(provider, 1)
        watch = Watch(provider, every=10, clock=counted.clock)
        counted.asked.clear()
        for counted.now in (0, 1, 2):
            await asyncio.gather(*(watch.find(one, within=1.5) for _ in range(50)))

    asyncio.run(look())
    assert len(counted.asked) == 2


def test_listing_that_fails_is_told_to_all_who_wait_and_asked_for_once():
    counted = Counted()

    async def look() -> list[Any]:
        provider = counted.provider()
        (one,) = await rented(provider, 1)
        watch = Watch(provider, clock=counted.clock)
        counted.is_down = True
        counted.asked.clear()
        with pytest.raises(OutcomeError):
            await watch.find(one)
        alone = len(counted.asked)
        counted.asked.clear()
        found = await asyncio.gather(*(watch.find(one) for _ in range(100)), return_exceptions=True)
        assert len(counted.asked) == alone
        return found

    assert all(isinstance(one, OutcomeError) for one in asyncio.run(look()))


def test_one_who_is_cancelled_takes_the_listing_from_nobody():
    counted = Counted()

    async def look() -> Any:
        provider = counted.provider()
        (one,) = await rented(provider, 1)
        watch = Watch(provider, clock=counted.clock)
        first, second = asyncio.create_task(watch.find(one)), asyncio.create_task(watch.find(one))
        await asyncio.sleep(0)
        first.cancel()
        return await second

    assert asyncio.run(look()) is not None
