"""The control API: what a test sees of an emulated cloud, and what it makes go wrong. No key, loopback only."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from lorry.emulators import faulty
from lorry.emulators.account import Settings
from lorry.emulators.cloud import Cloud
from lorry.emulators.faults import Fault
from lorry.emulators.machine import processes
from lorry.emulators.rental import State


class Machine(BaseModel):
    """A machine as the emulator knows it, ended ones too. Times are seconds since 1970."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    id: str
    name: str
    state: State
    status: str
    """The state as the cloud's own API tells it."""
    why: str
    pids: list[int]
    """Its processes that are alive."""
    created: float
    started: float | None
    ended: float | None
    is_over: bool
    """Whether nothing is left of it: no process, no disk."""
    usd: float
    """What it has cost, disks included."""
    usd_per_hour: float
    """What it bills now, disks included."""
    seconds: float
    """That its computing was billed for."""
    port: int
    starts: int
    folder: str


def routes(cloud: Cloud) -> Sequence[BaseRoute]:
    """The paths below `/_control`."""

    async def machines(_request: Request) -> Response:
        return JSONResponse({"machines": [one.model_dump() for one in await _machines(cloud)]})

    async def ledger(_request: Request) -> Response:
        return JSONResponse(_ledger(cloud))

    async def settings(request: Request) -> Response:
        if request.method == "POST":
            _change(cloud, await request.json())
        return JSONResponse(cloud.account.settings.model_dump())

    async def faults(request: Request) -> Response:
        if request.method == "POST":
            given = await faulty.arm(cloud.fleet, Fault.model_validate(await request.json()))
            return JSONResponse({"given": given}, 201)
        if request.method == "DELETE":
            cloud.fleet.faults.armed.clear()
            cloud.fleet.save()
        return JSONResponse({"faults": [fault.model_dump() for fault in cloud.fleet.faults.armed]})

    paths = {"machines": machines, "ledger": ledger, "settings": settings, "faults": faults}
    methods = {"settings": ["GET", "POST"], "faults": ["GET", "POST", "DELETE"]}
    return [
        Route(f"/_control/{name}", _forgiving(answer), methods=methods.get(name, ["GET"]))
        for name, answer in paths.items()
    ]


async def _machines(cloud: Cloud) -> list[Machine]:
    fleet = cloud.fleet
    alive = await asyncio.to_thread(processes.residents, fleet.home / "machines")
    now = fleet.now()
    return [
        Machine(
            **{name: getattr(one, name) for name in ("id", "name", "state", "why", "created", "started", "ended")},
            **{name: getattr(one, name) for name in ("usd_per_hour", "port", "starts")},
            status=cloud.told_state(one),
            pids=sorted(alive.get(one.id, [])),
            is_over=fleet.is_over(one),
            usd=one.usd(now),
            seconds=one.seconds(now),
            folder=str(fleet.home / "machines" / one.id),
        )
        for one in sorted(fleet.rentals.values(), key=lambda one: one.created)
    ]


def _ledger(cloud: Cloud) -> dict[str, Any]:
    fleet, now = cloud.fleet, cloud.fleet.now()
    return {
        "balance": fleet.balance(),
        "spent": fleet.spent(),
        "usd_per_hour": sum(one.usd_per_hour for one in fleet.rentals.values()),
        "machines": {one.id: one.usd(now) for one in fleet.rentals.values()},
        "volumes": {one.id: sum(span.usd(now) for span in one.spans) for one in cloud.account.volumes.values()},
    }


def _change(cloud: Cloud, changes: dict[str, Any]) -> None:
    """Changes the settings that are named; `balance` is one of them here."""
    balance = changes.pop("balance", None)
    cloud.account.settings = Settings.model_validate({**cloud.account.settings.model_dump(), **changes})
    cloud.fleet.save()
    if balance is not None:
        cloud.fleet.set_balance(float(balance))


def _forgiving(answer: Any) -> Any:
    """Says what is wrong with a request, rather than 500."""

    async def guarded(request: Request) -> Response:
        # What a page in a browser can send without asking is never JSON by its header.
        if request.method == "POST" and not request.headers.get("content-type", "").startswith("application/json"):
            return JSONResponse({"error": "the request must be application/json"}, 415)
        try:
            return await answer(request)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            return JSONResponse({"error": f"{place}: {first['msg']}"}, 422)
        except ValueError as error:
            return JSONResponse({"error": str(error)}, 422)

    return guarded
