"""Every provider keeps the same promises, whoever wrote it.

`rented` gives a provider and what is ordered from it, for each world of `WORLDS`: another server that speaks a provider's API
is one more entry there.
"""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any, cast
from uuid import uuid4

import httpx
import pytest

from clouds import CLOUDS
from lorry import plugins
from lorry.compute.outcomes import Outcome, OutcomeError
from lorry.compute.providers._base import Address, Machine, Order, Provider, Volume, Wanted
from lorry.compute.providers._http import HttpProvider
from lorry.emulators import launch
from lorry.emulators.launch import Emulator
from scripted import KEYS, SECRET

NAMES = plugins.names("providers")
SETTINGS: dict[str, dict[str, Any]] = {"ssh": {"hosts": ["me@127.0.0.1:2222", "me@127.0.0.1:2223"]}}
PATIENCE = 30.0
"""Seconds within which a machine must have started, or ended."""
Rented = tuple[Provider, Order]
World = Callable[[pytest.MonkeyPatch], AbstractContextManager[Provider]]
"""Sets the variables that its provider reads, and gives the provider."""


def in_memory(name: str) -> World:
    """A provider whose cloud is in this process; time does not pass there."""

    @contextmanager
    def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
        for variable in ("RUNPOD_API_URL", "VAST_URL", "LAMBDA_API_URL"):
            monkeypatch.delenv(variable, raising=False)
        provider = cast("Provider", plugins.make("providers", {"name": name, **SETTINGS.get(name, {})}))
        if isinstance(provider, HttpProvider):
            monkeypatch.setenv(KEYS[name], SECRET)
            provider.through(httpx.MockTransport(CLOUDS[name]().handle), no_sleep)
        yield provider

    return world


async def no_sleep(_: float) -> None:
    """Time does not pass in a cloud in memory."""
    await asyncio.sleep(0)


@contextmanager
def served(name: str, emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    """A provider whose cloud is another process; what was rented there vanishes in the end."""
    for variable, value in emulator.variables.items():
        monkeypatch.setenv(variable, value)
    yield cast("Provider", plugins.make("providers", name))
    for machine in emulator.control.machines():
        if machine.state != "ended":
            emulator.control.arm("vanish", machine=machine.id)


WORLDS: dict[str, World] = {name: in_memory(name) for name in NAMES}
EMULATED = ("runpod", "vast")


@pytest.fixture(scope="session")
def emulators(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Emulator]]:
    """Clouds that speak HTTP, and whose machines are real."""
    found = {name: launch.start(name, tmp_path_factory.mktemp(name)) for name in EMULATED}
    yield found
    for emulator in found.values():
        emulator.end()


@pytest.fixture(params=[*WORLDS, *(f"emulated {name}" for name in EMULATED)])
def rented(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rented]:
    """A provider, and an order for its cheapest offer that nobody takes back."""
    name = str(request.param)
    if name.startswith("emulated "):
        cloud = name.removeprefix("emulated ")
        world = served(cloud, request.getfixturevalue("emulators")[cloud], monkeypatch)
    else:
        world = WORLDS[name](monkeypatch)
    with world as provider:
        cheapest = does(provider, provider.offers(Wanted()))[0]
        name = f"lorry-{uuid4().hex[:8]}-contract"
        yield provider, Order(name, cheapest, provider.default_image, public_key="ssh-ed25519 AAAA lorry")


def does(provider: Provider, work: Coroutine[Any, Any, Any]) -> Any:
    """What the work gives; the provider's connections end with it."""

    async def done() -> Any:
        try:
            return await work
        finally:
            await provider.close()

    return asyncio.run(done())


async def reached(provider: Provider, machine_id: str) -> Address | None:
    """Where the machine is reached, once it runs and its provider tells."""
    deadline = time.monotonic() + PATIENCE
    while (machine := await provider.find(machine_id)) is not None and machine.address is None:
        assert time.monotonic() < deadline, machine
        await asyncio.sleep(0.01)
    return machine.address if machine else None


async def until(provider: Provider, machine_id: str, *states: str) -> Machine | None:
    """The machine once it is in one of these states, or gone."""
    deadline = time.monotonic() + PATIENCE
    while (machine := await provider.find(machine_id)) is not None and machine.state not in states:
        assert time.monotonic() < deadline, machine
        await asyncio.sleep(0.01)
    return machine


def test_provider_says_in_one_line_what_it_is(rented: Rented):
    provider, _ = rented
    assert 20 < len(type(provider).summary()) <= 120
    assert (provider.key == "") == (provider.key_page == "")
    assert provider.by_hand("m-17")


def test_offers_are_the_cheapest_first_and_each_can_be_ordered(rented: Rented):
    provider, _ = rented
    offers = does(provider, provider.offers(Wanted()))
    prices = [offer.usd_per_hour.likely for offer in offers]
    assert prices == sorted(prices)
    assert all(offer.key for offer in offers)
    assert all(offer.gpu is None or offer.memory == offer.gpu.memory for offer in offers)


def test_nobody_offers_what_takes_more_memory_than_there_is(rented: Rented):
    provider, _ = rented
    found = does(provider, provider.offers(Wanted(memory=2**50)))
    assert all(offer.memory == 0 for offer in found), "what is not known is neither refused nor promised"


def test_interruptible_machines_are_offered_only_where_that_is_declared(rented: Rented):
    provider, _ = rented
    only = does(provider, provider.offers(Wanted(interruptible="only")))
    assert bool(only) == provider.capabilities.interruptible
    assert all(offer.interruptible and offer.usd_per_hour.likely > 0 for offer in only)
    assert not any(offer.interruptible for offer in does(provider, provider.offers(Wanted(interruptible="never"))))


def test_volume_is_no_reason_to_offer_where_there_are_none(rented: Rented):
    provider, _ = rented
    if not provider.capabilities.volumes:
        assert does(provider, provider.offers(Wanted(volume="v1"))) == []
        assert list(does(provider, provider.volumes())) == []


def test_machine_is_made_found_listed_and_ended(rented: Rented):
    provider, order = rented

    async def life() -> None:
        machine = await provider.create(order)
        assert machine.id
        assert machine.name == order.name
        assert machine.state in ("starting", "running")
        assert order.name in [one.name for one in await provider.list()]
        running = await until(provider, machine.id, "running")
        assert running is not None
        assert running.name == order.name
        assert running.usd_per_hour >= 0
        await provider.end(machine.id)
        ended = await until(provider, machine.id, "ended")
        assert ended is None or ended.usd_per_hour == 0
        assert order.name not in [one.name for one in await provider.list()]
        await provider.close()

    does(provider, life())


def test_running_machine_has_an_address_where_it_is_reached(rented: Rented):
    provider, order = rented

    async def address() -> Any:
        machine = await provider.create(order)
        return await reached(provider, machine.id)

    if provider.name == "local":
        return
    found = does(provider, address())
    assert found is not None
    assert found.host
    assert 0 < found.port < 2**16
    assert found.user


def test_ending_twice_and_ending_what_never_was_is_silent(rented: Rented):
    provider, order = rented

    async def twice() -> None:
        machine = await provider.create(order)
        await provider.end(machine.id)
        await provider.end(machine.id)
        await provider.end("424242")

    does(provider, twice())


def test_machine_that_never_was_is_not_found(rented: Rented):
    provider, _ = rented
    assert does(provider, provider.find("424242")) is None


def test_two_machines_of_one_account_are_told_apart_by_name(rented: Rented):
    provider, order = rented

    async def both() -> tuple[Machine, Machine, list[str]]:
        first = await provider.create(order)
        offer = (await provider.offers(Wanted()))[-1]
        second = await provider.create(replace(order, name="lorry-e5f6a7b8-contract", offer=offer))
        return first, second, [one.name for one in await provider.list()]

    first, second, names = does(provider, both())
    assert first.id != second.id
    assert {order.name, "lorry-e5f6a7b8-contract"} <= set(names)


def test_account_is_told_without_the_key(rented: Rented):
    provider, _ = rented
    if provider.name == "ssh":
        with pytest.raises(OutcomeError) as caught:
            does(provider, provider.account())
        assert caught.value.outcome is Outcome.API_DOWN
        return
    told = does(provider, provider.account())
    assert told
    assert SECRET not in told


def test_key_is_in_no_setting_and_on_no_machine(rented: Rented):
    provider, order = rented
    shown = repr(provider) + str(provider.model_dump()) + repr(order) + provider.ends_itself + provider.by_hand("m")
    assert SECRET not in shown


def test_command_to_end_itself_is_there_where_it_is_declared_and_is_shell(rented: Rented):
    provider, _ = rented
    assert bool(provider.ends_itself) == (provider.capabilities.self_ending == "scoped_key")
    if provider.ends_itself:
        checked = subprocess.run(["sh", "-n", "-c", f"if {provider.ends_itself}; then :; fi"], timeout=10, check=False)
        assert checked.returncode == 0
        assert provider.key == "RUNPOD_API_KEY" or provider.key not in provider.ends_itself


def test_missing_key_is_found_out_and_told(rented: Rented, monkeypatch: pytest.MonkeyPatch):
    provider, order = rented
    if not provider.key:
        return
    monkeypatch.delenv(provider.key)
    for work in (provider.account(), provider.list(), provider.create(order), provider.end("x")):
        with pytest.raises(OutcomeError) as caught:
            does(provider, work)
        assert caught.value.outcome is Outcome.KEY_REFUSED
        assert provider.key in caught.value.message + caught.value.hint


def test_refused_key_is_found_out_by_asking(rented: Rented, monkeypatch: pytest.MonkeyPatch):
    provider, _ = rented
    if provider.key:
        monkeypatch.setenv(provider.key, "another-key")
        with pytest.raises(OutcomeError) as caught:
            does(provider, provider.account())
        assert caught.value.outcome is Outcome.KEY_REFUSED


def test_volumes_are_made_and_deleted_where_they_are_declared(rented: Rented):
    provider, _ = rented
    if not provider.capabilities.volumes:
        return

    async def life() -> tuple[Volume, list[str], list[Any], list[str]]:
        volume = await provider.create_volume("models", 20, "EU-RO-1")
        during = [one.id for one in await provider.volumes()]
        beside = await provider.offers(Wanted(volume=volume.id))
        await provider.delete_volume(volume.id)
        await provider.delete_volume(volume.id)
        return volume, during, beside, [one.id for one in await provider.volumes()]

    volume, during, beside, after = does(provider, life())
    assert (volume.name, volume.gb, volume.place) == ("models", 20, "EU-RO-1")
    assert (during, after) == ([volume.id], [])
    assert {offer.place for offer in beside} == {"EU-RO-1"}


def test_stopped_machine_is_started_again_where_that_is_declared(rented: Rented):
    provider, order = rented
    if not provider.capabilities.stop:
        with pytest.raises(NotImplementedError):
            does(provider, provider.start("m"))
        return

    async def again() -> Machine | None:
        machine = await provider.create(order)
        await until(provider, machine.id, "running")
        await provider.start(machine.id)
        return await until(provider, machine.id, "running")

    assert does(provider, again()) is not None
