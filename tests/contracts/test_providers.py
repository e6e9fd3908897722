"""Every provider keeps the same promises, whoever wrote it.

`rented` gives a provider and what is ordered from it, so that the same tests run on anything that speaks a provider's API.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any, cast

import httpx
import pytest

from clouds import CLOUDS
from lorry import plugins
from lorry.compute.outcomes import Outcome, OutcomeError
from lorry.compute.providers._base import Machine, Order, Provider, Volume, Wanted
from lorry.compute.providers._http import HttpProvider
from scripted import KEYS, SECRET

NAMES = plugins.names("providers")
SETTINGS: dict[str, dict[str, Any]] = {"ssh": {"hosts": ["me@127.0.0.1:2222", "me@127.0.0.1:2223"]}}
LOOKS = 600
"""Times that a machine is looked at until it must have started, or ended."""
Rented = tuple[Provider, Order]


def kind(name: str) -> type[Provider]:
    return cast("type[Provider]", plugins.find("providers", name))


def made(name: str) -> Provider:
    provider = cast("Provider", plugins.make("providers", {"name": name, **SETTINGS.get(name, {})}))
    if isinstance(provider, HttpProvider):
        cloud = CLOUDS[name]()
        provider.through(httpx.MockTransport(cloud.handle), no_sleep)
    return provider


async def no_sleep(_: float) -> None:
    """Time does not pass in a cloud in memory."""
    await asyncio.sleep(0)


@pytest.fixture(params=NAMES)
def rented(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Rented:
    """A provider, and an order for its cheapest offer that nobody takes back."""
    for variable in KEYS.values():
        monkeypatch.setenv(variable, SECRET)
    for variable in ("RUNPOD_API_URL", "VAST_URL", "LAMBDA_API_URL"):
        monkeypatch.delenv(variable, raising=False)
    provider = made(request.param)
    cheapest = does(provider.offers(Wanted()))[0]
    order = Order("lorry-a1b2c3d4-contract", cheapest, provider.default_image, public_key="ssh-ed25519 AAAA lorry")
    return provider, order


def does(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


async def until(provider: Provider, machine_id: str, *states: str) -> Machine | None:
    """The machine once it is in one of these states, or gone."""
    for _ in range(LOOKS):
        machine = await provider.find(machine_id)
        if machine is None or machine.state in states:
            return machine
        await asyncio.sleep(0)
    raise AssertionError(f"still {machine}")


def test_provider_says_in_one_line_what_it_is(rented: Rented):
    provider, _ = rented
    assert 20 < len(type(provider).summary()) <= 120
    assert (provider.key == "") == (provider.key_page == "")
    assert provider.by_hand("m-17")


def test_offers_are_the_cheapest_first_and_each_can_be_ordered(rented: Rented):
    provider, _ = rented
    offers = does(provider.offers(Wanted()))
    prices = [offer.usd_per_hour.likely for offer in offers]
    assert prices == sorted(prices)
    assert all(offer.key for offer in offers)
    assert all(offer.gpu is None or offer.memory == offer.gpu.memory for offer in offers)


def test_nobody_offers_what_takes_more_memory_than_there_is(rented: Rented):
    provider, _ = rented
    found = does(provider.offers(Wanted(memory=2**50)))
    assert all(offer.memory == 0 for offer in found), "what is not known is neither refused nor promised"


def test_interruptible_machines_are_offered_only_where_that_is_declared(rented: Rented):
    provider, _ = rented
    only = does(provider.offers(Wanted(interruptible="only")))
    assert bool(only) == provider.capabilities.interruptible
    assert all(offer.interruptible and offer.usd_per_hour.likely > 0 for offer in only)
    assert not any(offer.interruptible for offer in does(provider.offers(Wanted(interruptible="never"))))


def test_volume_is_no_reason_to_offer_where_there_are_none(rented: Rented):
    provider, _ = rented
    if not provider.capabilities.volumes:
        assert does(provider.offers(Wanted(volume="v1"))) == []
        assert list(does(provider.volumes())) == []


def test_machine_is_made_found_listed_and_ended(rented: Rented):
    provider, order = rented

    async def life() -> None:
        machine = await provider.create(order)
        assert machine.id
        assert machine.name == order.name
        assert machine.state in ("starting", "running")
        assert [one.name for one in await provider.list()] == [order.name]
        running = await until(provider, machine.id, "running")
        assert running is not None
        assert running.name == order.name
        assert running.usd_per_hour >= 0
        await provider.end(machine.id)
        ended = await until(provider, machine.id, "ended")
        assert ended is None or ended.usd_per_hour == 0
        assert list(await provider.list()) == []
        await provider.close()

    does(life())


def test_running_machine_has_an_address_where_it_is_reached(rented: Rented):
    provider, order = rented

    async def address() -> Any:
        machine = await provider.create(order)
        found = await until(provider, machine.id, "running")
        return found.address if found else None

    found = does(address())
    if provider.name != "local":
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

    does(twice())


def test_machine_that_never_was_is_not_found(rented: Rented):
    provider, _ = rented
    assert does(provider.find("424242")) is None


def test_two_machines_of_one_account_are_told_apart_by_name(rented: Rented):
    provider, order = rented

    async def both() -> tuple[Machine, Machine, list[str]]:
        first = await provider.create(order)
        offer = (await provider.offers(Wanted()))[-1]
        second = await provider.create(replace(order, name="lorry-e5f6a7b8-contract", offer=offer))
        return first, second, [one.name for one in await provider.list()]

    first, second, names = does(both())
    assert first.id != second.id
    assert sorted(names) == [order.name, "lorry-e5f6a7b8-contract"]


def test_account_is_told_without_the_key(rented: Rented):
    provider, _ = rented
    if provider.name == "ssh":
        with pytest.raises(OutcomeError) as caught:
            does(provider.account())
        assert caught.value.outcome is Outcome.API_DOWN
        return
    told = does(provider.account())
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
            does(work)
        assert caught.value.outcome is Outcome.KEY_REFUSED
        assert provider.key in caught.value.message + caught.value.hint


def test_refused_key_is_found_out_by_asking(rented: Rented, monkeypatch: pytest.MonkeyPatch):
    provider, _ = rented
    if provider.key:
        monkeypatch.setenv(provider.key, "another-key")
        with pytest.raises(OutcomeError) as caught:
            does(provider.account())
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

    volume, during, beside, after = does(life())
    assert (volume.name, volume.gb, volume.place) == ("models", 20, "EU-RO-1")
    assert (during, after) == ([volume.id], [])
    assert {offer.place for offer in beside} == {"EU-RO-1"}


def test_stopped_machine_is_started_again_where_that_is_declared(rented: Rented):
    provider, order = rented
    if not provider.capabilities.stop:
        with pytest.raises(NotImplementedError):
            does(provider.start("m"))
        return

    async def again() -> Machine | None:
        machine = await provider.create(order)
        await until(provider, machine.id, "running")
        await provider.start(machine.id)
        return await until(provider, machine.id, "running")

    assert does(again()) is not None
