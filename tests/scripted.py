"""A provider's API as a table of answers, and what was asked of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, cast

import httpx

from lorry import plugins
from lorry.compute.providers._base import Order, Wanted
from lorry.compute.providers._http import HttpProvider
from lorry.plan import gpus
from lorry.plan.offers import Offer
from lorry.plan.ranges import Range

KEYS = {"runpod": "RUNPOD_API_KEY", "vast": "VAST_API_KEY", "lambda": "LAMBDA_API_KEY"}
SECRET = "key-that-nobody-may-see-8c1f"
Reply = httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]


class Scripted:
    """Answers in the order given for each `METHOD path`; the last one goes on."""

    def __init__(self, **_: Any) -> None:
        self.replies: dict[str, list[Reply]] = {}
        self.requests: list[httpx.Request] = []
        self.slept: list[float] = []

    def on(self, what: str, *replies: Reply) -> Scripted:
        self.replies.setdefault(what, []).extend(replies)
        return self

    def handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        replies = self.replies.get(f"{request.method} {request.url.path}")
        if not replies:
            raise AssertionError(f"nobody expects {request.method} {request.url.path}")
        reply = replies.pop(0) if len(replies) > 1 else replies[0]
        if isinstance(reply, Exception):
            raise reply
        if isinstance(reply, httpx.Response):
            return httpx.Response(reply.status_code, headers=reply.headers, content=reply.content)
        return reply(request)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def provider(self, name: str, **settings: Any) -> HttpProvider:
        made = cast("HttpProvider", plugins.make("providers", {"name": name, **settings}))
        return made.through(httpx.MockTransport(self.handle), self.sleep)

    def asked(self, what: str) -> list[httpx.Request]:
        return [one for one in self.requests if f"{one.method} {one.url.path}" == what]

    def body(self, what: str) -> dict[str, Any]:
        return json.loads(self.asked(what)[-1].content)


def reply(status: int = 200, data: Any = None, **headers: str) -> httpx.Response:
    return httpx.Response(status, json=data, headers={name.replace("_", "-"): text for name, text in headers.items()})


def problem(status: int, detail: str, **headers: str) -> httpx.Response:
    return reply(status, {"title": "Problem", "status": status, "detail": detail}, **headers)


def offer(provider: str, gpu: str | None = "RTX 4090", key: str = "NVIDIA GeForce RTX 4090", **changes: Any) -> Offer:
    spec = gpus.get(gpu) if gpu else None
    given: dict[str, Any] = {"usd_per_hour": Range.exact(0.34), "key": key, "tier": "secure", **changes}
    return Offer(provider, gpu or "cpu5c, 4 vCPU", spec, spec.memory if spec else 10**10, **given)


def order(what: Offer, **changes: Any) -> Order:
    given: dict[str, Any] = {"name": "lorry-a1b2c3d4-tiny", "image": "img:1", "public_key": "ssh-ed25519 AAAA lorry"}
    return Order(offer=what, **(given | changes))


def wanted(*names: str, **changes: Any) -> Wanted:
    return Wanted(gpus=tuple(spec for name in names for spec in gpus.variants(name)), **changes)
