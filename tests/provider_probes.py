"""What a provider's settings change, seen in what is asked of its API and in what it offers."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import httpx

from clouds import CLOUDS, say
from lorry.compute.providers._base import Order, Wanted
from scripted import KEYS, SECRET

CPU = {
    "id": "cpu5c",
    "name": "Compute",
    "vcpu": {"min": 2, "max": 32},
    "ramGbPerVcpu": 2,
    "price": {"securePerVcpu": 0.04},
    "availability": "HIGH",
}


def asked(provider: Any, wanted: Wanted = Wanted(), *, create: bool = False) -> tuple[list[Any], list[httpx.Request]]:  # noqa: B008
    """The provider's offers, and the requests that it sent for them and, if asked to, for the first of them."""
    sent: list[httpx.Request] = []
    cloud = CLOUDS[provider.name]()
    cloud.on("GET /v2/catalog/cpus", lambda: say({"cpus": [CPU]}))

    def handle(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return cloud.handle(request)

    async def work() -> list[Any]:
        offers = await provider.offers(wanted)
        if create:
            await provider.create(Order("lorry-1", offers[0], "img"))
        return offers

    provider.through(httpx.MockTransport(handle))
    os.environ[KEYS[provider.name]] = SECRET
    try:
        return asyncio.run(work()), sent
    finally:
        del os.environ[KEYS[provider.name]]


def host(provider: Any, _folder: Path) -> str:
    """Who is asked."""
    return asked(provider)[1][0].url.host


def tiers(provider: Any, _folder: Path) -> set[str]:
    """Kinds of machines that are offered."""
    return {offer.tier for offer in asked(provider)[0]}


def places(provider: Any, _folder: Path) -> list[str]:
    """Where the machines are."""
    return [offer.place for offer in asked(provider)[0]]


def disk(provider: Any, _folder: Path) -> int:
    """The container disk that is ordered, in GB."""
    return json.loads(asked(provider, create=True)[1][-1].content)["disk"]


def processors(provider: Any, _folder: Path) -> list[str]:
    """The machines without a GPU."""
    return [offer.key for offer in asked(provider, Wanted(cpu=True))[0]]


def filtered(name: str) -> Any:
    """A filter of Vast.ai's search."""
    return lambda provider, _folder: json.loads(asked(provider)[1][0].content).get(name)


def pool(provider: Any, _folder: Path) -> list[tuple[str, float]]:
    """Hosts and their price."""
    return [(offer.key, offer.usd_per_hour.likely) for offer in asyncio.run(provider.offers(Wanted()))]
