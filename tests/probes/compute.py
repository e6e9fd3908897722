"""Probes of `compute`: what is asked of who rents, seen in the requests that an API got, and what is done on the machine."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import httpx

from clouds import CLOUDS, Cloud, say
from lorry.compute import ssh
from lorry.compute.control import copies
from lorry.compute.control.at_home import RunAtHome
from lorry.compute.control.attempt import Attempt
from lorry.compute.control.rented import Rented
from lorry.compute.control.renting import Found, NothingFound, Renting
from lorry.compute.lease import Clock
from lorry.compute.outcomes import Outcome, OutcomeError
from lorry.compute.providers._http import HttpProvider
from lorry.plugins import make
from lorry.track.events import Event
from lorry.track.folder import home
from lorry.track.leases import Leases
from lorry.trainer import checkpoint
from probes.probe import Probe, Values
from scripted import KEYS, SECRET
from tiny_runs import begin

_VOLUME = {"id": "vol1", "name": "models", "dataCenterId": "EU-RO-1", "size": 20, "type": "STANDARD"}
_TEMPLATE = {"id": "tpl1", "name": "mine", "image": "mine/image:1"}


class _Desk:
    """A run about to be rented for, at a small cloud, by a clock that waits for nobody."""

    def __init__(self, values: Values) -> None:
        self.now = 1_800_000_000.0
        self.made: list[dict[str, Any]] = []
        run = begin(values)
        self.home = RunAtHome(run.folder, _unseen)
        provider = cast("HttpProvider", make("providers", self.home.recipe.compute.on[0]))
        self.cloud = _cloud(provider.name)
        provider.through(httpx.MockTransport(self._handle))
        key = ssh.installation_key(home())
        self.renting = Renting(self.home, [provider], Leases.open(), key, Clock(lambda: self.now, self._sleep))

    def rented(self) -> Found | NothingFound:
        """What comes of asking for the next machine."""
        name = KEYS[self.renting.providers[0].name]
        os.environ[name] = SECRET
        try:
            return asyncio.run(Rented(self.renting)._rent())
        finally:
            del os.environ[name]

    def _handle(self, request: httpx.Request) -> httpx.Response:
        if f"{request.method} {request.url.path}".startswith(("POST /v2/pods", "PUT /api/v0/asks/")):
            self.made.append(json.loads(request.content))
        return self.cloud.handle(request)

    async def _sleep(self, seconds: float) -> None:
        self.now += seconds


def _unseen(_event: Event) -> None:
    """Nobody looks on."""


def _cloud(name: str) -> Cloud:
    cloud = CLOUDS[name]()
    if name == "runpod":
        cloud.volumes["vol1"] = dict(_VOLUME)
        cloud.routes.insert(0, cloud.routes.pop())
        cloud.on("GET /v2/templates", lambda: say({"templates": [_TEMPLATE]}))
        cloud.on("GET /v2/templates/([^/]+)", lambda _: say(_TEMPLATE))
    return cloud


def order(values: Values) -> dict[str, Any]:
    """What was asked of the provider for the first machine."""
    desk = _Desk(values)
    desk.rented()
    return desk.made[0]


def asked(*names: str) -> Callable[[Values], Any]:
    """A part of what was asked of the provider."""

    def observe(values: Values) -> Any:
        found: Any = order(values)
        for name in names:
            found = found.get(name)
        return found

    return observe


def is_rented(values: Values) -> bool:
    return begin(values).folder.is_rented


def after_preemption(values: Values) -> str:
    """What comes of asking for a machine after one was taken back."""
    desk = _Desk(values)
    desk.home.tell("lost", lease="x", outcome="PREEMPTED", message="taken back", action="another")
    return type(desk.rented()).__name__


def hours_waited(values: Values) -> int:
    """How long a machine is waited for where there is none."""
    desk = _Desk(values)
    desk.cloud.routes = [one for one in desk.cloud.routes if "catalog/gpus" not in one[0].pattern]
    desk.cloud.on("GET /v2/catalog/gpus", lambda: say({"gpus": []}))
    began = desk.now
    desk.rented()
    return round((desk.now - began) / 3600)


def is_cloned(values: Values) -> bool:
    """Whether git is the first thing that sending a run has the machine do."""
    desk, link = _Desk(values), _Link()
    found = desk.rented()
    assert isinstance(found, Found)
    attempt = Attempt(desk.home, found.lease, found.offer, found.allowed, desk.renting.key)
    attempt._place = "/home/me/lorry"
    with suppress(OutcomeError):
        asyncio.run(attempt._send(cast("ssh.Link", link)))
    return "git init" in link.asked


class _Link:
    """A connection to a machine that does nothing that it is told."""

    asked, python = "", "python3"

    async def run(self, command: str, **_: Any) -> None:
        self.asked = self.asked or command
        raise OutcomeError(Outcome.SSH_DOWN)

    async def open(self, command: str) -> None:
        await self.run(command)


def copied(values: Values) -> list[str]:
    """What of a checkpoint that has come home lies elsewhere too."""
    desk = _Desk(values)
    place = checkpoint.path_of(desk.home.folder.checkpoints, 5)
    place.mkdir(parents=True)
    (place / "manifest.json").write_text("{}")
    asyncio.run(copies.copy_on(desk.home, 5))
    found = [path.parent.name for path in Path("away").rglob("manifest.json")]
    shutil.rmtree("away", ignore_errors=True)
    return found


_RUNPOD: dict[str, Any] = {"compute.on": "runpod"}
_VAST: dict[str, Any] = {"compute.on": "vast", "compute.interruptible": "prefer"}
_ONLY = {**_VAST, "compute.interruptible": "only"}
_CODE = "https://example.org/mine.git@0123456789abcdef0123456789abcdef01234567"
_4090, _A100 = "NVIDIA GeForce RTX 4090", "NVIDIA A100 80GB PCIe"
_GPU = asked("gpu", "id")

PROBES = [
    Probe("compute.on", ("local", "runpod"), is_rented, (False, True)),
    Probe("compute.gpu", (["RTX 4090"], ["A100-80GB"]), _GPU, (_4090, _A100), _RUNPOD),
    Probe("compute.interruptible", ("never", "prefer"), asked("price"), (None, 0.1488), {"compute.on": "vast"}),
    Probe("compute.preemptions", (1, 2), after_preemption, ("NothingFound", "Found"), _ONLY),
    Probe("compute.bid", (None, 0.2), asked("price"), (0.1488, 0.2), _VAST),
    Probe("compute.wait_hours", (0, 2), hours_waited, (0, 2), _RUNPOD),
    Probe("compute.image", (None, "mine/image:2"), asked("image"), given=_RUNPOD),
    Probe("compute.template", (None, "mine"), asked("templateId"), (None, "tpl1"), _RUNPOD),
    Probe("compute.disk_gb", (30, 60), asked("mounts"), given=_RUNPOD),
    Probe("compute.volume", (None, "models"), asked("mounts"), given=_RUNPOD),
    Probe("compute.code", (None, _CODE), is_cloned, (False, True), _RUNPOD),
    Probe("compute.copies", ("home", "local://away"), copied, ([], ["step-000005"]), _RUNPOD),
    Probe("compute.grace_minutes", (60, 5), asked("args"), given=_RUNPOD),
]
