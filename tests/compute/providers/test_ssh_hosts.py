"""Hosts of one's own: a pool whose hosts are each taken by one run at a time."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from lorry import plugins
from lorry.compute.outcomes import Outcome, OutcomeError
from lorry.compute.providers._base import Address, Order, Provider, Wanted
from lorry.errors import InputError
from lorry.track.leases import LeaseRow, Leases


def pool(*hosts: str, **settings: Any) -> Provider:
    return cast("Provider", plugins.make("providers", {"name": "ssh", "hosts": list(hosts), **settings}))


async def free(provider: Provider) -> list[str]:
    return [offer.key for offer in await provider.offers(Wanted())]


async def ordered(provider: Provider, host: str, name: str = "lorry-1-run") -> Order:
    offer = next(offer for offer in await pool(*provider.model_dump()["hosts"]).offers(Wanted()) if offer.key == host)
    return Order(name, offer, "")


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("me@box:2222", Address("box", 2222, "me")),
        ("me@10.0.0.7", Address("10.0.0.7", 22, "me")),
        ("me@[::1]:2200", Address("::1", 2200, "me")),
    ],
)
def test_hosts_are_said_as_ssh_says_them(host, address):
    async def taken() -> Any:
        provider = pool(host)
        return (await provider.create(await ordered(provider, host))).address

    assert asyncio.run(taken()) == address


@pytest.mark.parametrize(
    "host",
    [
        "",
        "me@",
        "me@box:0x",
        "me@box:99999",
        "me@box/path",
        "me:pw@box",
        "-oProxyCommand=x",
        "me@-oProxyCommand=x",
        "a b",
        "me@box\n",
        "me@box#x",
    ],
)
def test_host_that_is_none_is_refused(host):
    with pytest.raises(InputError):
        pool(host)


def test_pool_without_hosts_or_with_one_twice_is_refused():
    for hosts in ([], ["me@a", "me@a"]):
        with pytest.raises(InputError):
            pool(*hosts)


def test_price_is_the_pools():
    (offer,) = asyncio.run(pool("me@a", usd_per_hour=1.5).offers(Wanted()))
    assert (offer.usd_per_hour.likely, offer.gpu, offer.memory) == (1.5, None, 0)


def test_host_is_taken_once_and_free_again_after():
    async def story() -> None:
        provider = pool("me@a", "me@b")
        machine = await provider.create(await ordered(provider, "me@a"))
        assert await free(provider) == ["me@b"]
        with pytest.raises(OutcomeError) as caught:
            await provider.create(await ordered(provider, "me@a", "lorry-2-other"))
        assert caught.value.outcome is Outcome.NO_CAPACITY
        await provider.end(machine.id)
        assert await free(provider) == ["me@a", "me@b"]
        assert await provider.find(machine.id) is None

    asyncio.run(story())


def lease(machine_id: str, /, **changes: Any) -> LeaseRow:
    given = {
        "name": "lorry-9-else",
        "run_id": "r",
        "attempt": 1,
        "provider": "ssh",
        "machine_id": machine_id,
        "state": "rented",
    }
    return LeaseRow(**(given | changes))


def test_host_with_an_open_lease_of_another_process_is_taken():
    Leases.open().add(lease("me@a"))
    provider = pool("me@a", "me@b")
    assert asyncio.run(free(provider)) == ["me@b"]
    assert [one.name for one in asyncio.run(provider.list())] == ["lorry-9-else"]
    assert asyncio.run(provider.find("me@a")) is not None


@pytest.mark.parametrize(
    "changes", [{"state": "ending"}, {"state": "ended"}, {"provider": "runpod"}, {"machine_id": "me@z"}]
)
def test_other_leases_take_no_host(changes):
    Leases.open().add(lease("me@a", **changes))
    assert asyncio.run(free(pool("me@a"))) == ["me@a"]


def test_host_that_a_lease_is_being_made_for_is_taken_for_others_only():
    Leases.open().add(lease("", state="asked", host="me@a", name="lorry-1-run"))

    async def mine() -> None:
        provider = pool("me@a")
        assert await free(provider) == []
        offer = await ordered(pool("me@a", "me@b"), "me@b")
        await provider.create(Order("lorry-1-run", replace_key(offer, "me@a"), ""))
        with pytest.raises(OutcomeError):
            await provider.create(Order("lorry-2-other", replace_key(offer, "me@a"), ""))

    asyncio.run(mine())


def replace_key(order: Order, key: str) -> Any:
    from dataclasses import replace

    return replace(order.offer, key=key)


def test_lease_given_back_here_is_free_and_a_later_one_takes_it_again():
    leases = Leases.open()
    leases.add(lease("me@a"))
    provider = pool("me@a")
    asyncio.run(provider.end("me@a"))
    assert asyncio.run(free(provider)) == ["me@a"]
    leases.add(lease("me@a", name="lorry-10-later"))
    assert asyncio.run(free(provider)) == []


def test_hosts_that_answer_are_told_with_their_banner():
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-Test\x1b[2J_1\r\n")
        writer.close()

    async def asked() -> str:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server:
            return await pool(f"me@127.0.0.1:{port}", "me@127.0.0.1:1").account()

    told = asyncio.run(asked())
    assert "SSH-2.0-Test" in told
    assert "me@127.0.0.1:1: no answer" in told
    assert told.isprintable()


@pytest.mark.parametrize("said", [b"", b"HTTP/1.0 200\r\n", b"x" * 100_000])
def test_what_is_no_ssh_is_no_answer(said):
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        writer.close()

    async def asked() -> str:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server:
            return await pool(f"me@127.0.0.1:{port}").account()

    with pytest.raises(OutcomeError) as caught:
        asyncio.run(asked())
    assert caught.value.outcome is Outcome.API_DOWN
