"""RunPod through its REST API, version 2: pods on demand, network volumes, templates.

There are no interruptible pods any more, no time limit that RunPod keeps, and no way to read the balance: why a pod stopped is
not told either. A create names one GPU type; trying the next one is the caller's part.
"""

from __future__ import annotations

import asyncio
import json
import re
import shlex
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from datetime import date
from typing import Any, ClassVar, Literal

from pydantic import Field

from lorry.compute.outcomes import Outcome, OutcomeError
from lorry.compute.providers._answers import Fields, fields, moment, number, objects, said, text, texts, value, whole
from lorry.compute.providers._base import Address, Capabilities, Machine, Order, State, Texts, Volume, Wanted
from lorry.compute.providers._cards import card
from lorry.compute.providers._ending import Deletion
from lorry.compute.providers._http import HttpProvider, Question, Site, Url, segment, url_setting
from lorry.compute.providers._stream import events
from lorry.errors import InputError, RefusedError
from lorry.plan.cost import Terms
from lorry.plan.offers import Offer
from lorry.plan.ranges import Range

_TERMS = Terms(billed_by=1, storage=0.10, egress=0)  # RunPod's documentation of prices, 2026
_STATES: dict[str, State] = {
    "PROVISIONING": "starting",
    "STARTING": "starting",
    "RUNNING": "running",
    "EXITED": "stopped",
    "ERROR": "broken",
    "TERMINATED": "ended",
}
_STOPPED_STORAGE = 0.20
"""USD per GB and month of a stopped pod's volume disk. RunPod's documentation of prices, 2026."""
_HOURS_A_MONTH = 730
_REFUSED = {402: Outcome.BALANCE_EMPTY, 403: Outcome.NOT_ALLOWED}
_NO_CAPACITY = re.compile(
    r"instances? (?:currently )?available|no instances|resources to deploy|could not find any pods|not enough free gpus"
    r"|no (?:capacity|availability)|out of (?:stock|capacity)|different machine",
    re.IGNORECASE,
)
"""In the detail of a 400, which is also what a wrong request gets."""
_GB = 10**9
_LONGEST_LINE = 4000
_SSHD = """\
command -v /start.sh >/dev/null && exec /start.sh
command -v sshd >/dev/null || { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y openssh-server; }
mkdir -p ~/.ssh /run/sshd && printf '%s\\n' "$PUBLIC_KEY" >>~/.ssh/authorized_keys && chmod -R go= ~/.ssh
ssh-keygen -A && exec "$(command -v sshd)" -D -e"""
"""RunPod's images start SSH in /start.sh; others get what that does."""


class RunPod(HttpProvider):
    """RunPod: secure and community pods by the second; a pod can end itself with a key of its own."""

    capabilities: ClassVar[Capabilities] = Capabilities(volumes=True, stop=True, logs=True, self_ending="scoped_key")
    key: ClassVar[str] = "RUNPOD_API_KEY"
    key_page: ClassVar[str] = "https://console.runpod.io/user/settings"
    default_image: ClassVar[str] = "runpod/pytorch:1.0.2-cu1281-torch280-ubuntu2404"
    url: Url = url_setting("RUNPOD_API_URL", "https://api.runpod.io/v2")
    """Where the API is; `lorry emulate runpod` has one on this computer."""
    cloud: Literal["all", "secure", "community"] = "all"
    """Data centres (`secure`), other people's hosts (`community`), or both."""
    data_centers: Texts = Field(default_factory=Texts)
    """Only these data centres (`EU-RO-1`); empty for any."""
    container_gb: int = Field(default=20, ge=5, le=1000)
    """Disk for the system, beside the run's own."""
    vcpus: Literal[2, 4, 8, 16, 32] = 4
    """The least that a machine without a GPU has."""

    def site(self) -> Site:
        """RunPod's API."""
        return Site("RunPod", "runpod", self.url, self.key, self.key_page)

    async def offers(self, wanted: Wanted) -> list[Offer]:
        """What the catalog has now: one offer for each GPU type, cloud and, where the place matters, data centre."""
        if wanted.interruptible == "only":
            return []
        place = (await self._volume(wanted.volume)).place if wanted.volume else ""
        found = [one for cloud in await self._catalogs(wanted) for one in self._offered(cloud, wanted, place)]
        return sorted(found, key=lambda offer: (offer.usd_per_hour.likely, offer.name))

    async def places(self, wanted: Wanted) -> Sequence[str]:
        """Data centres that have any of it now."""
        types = [one for _, rows in await self._catalogs(wanted) for one in rows if _suits(one, wanted)]
        return sorted({place for one in types for place in _places(one)})

    async def create(self, order: Order) -> Machine:
        """Asks for a pod with one GPU type, once. A 400 is what both a lack of machines and a wrong request get."""
        body = await self._body(order)
        answer = await self.api.once(Question("POST", "pods", body=body))
        if answer.status in (200, 201):
            made = _machine(fields(answer.data))
            if made is None:
                raise OutcomeError(
                    Outcome.UNCERTAIN, f"RunPod took the request, and says not what it made: {answer.detail}"
                )
            return made
        if answer.status == 400 and _NO_CAPACITY.search(answer.detail):
            raise self.api.refused(answer, Outcome.NO_CAPACITY)
        raise self.api.refused(answer, _REFUSED.get(answer.status, Outcome.REQUEST_WRONG))

    async def find(self, machine_id: str) -> Machine | None:
        """The pod as it is now. Nothing tells why it stopped."""
        answer = await self.api.ask(Question("GET", f"pods/{segment(machine_id)}"))
        if answer.status == 404 and answer.is_json:
            return None
        found = _machine(fields(self.api.checked(answer).data))
        if found is None:
            raise self.api.down("what it tells of a pod has no id")
        return found

    async def list(self) -> Sequence[Machine]:
        """Every pod of the account."""
        pods = self.api.listed(await self.api.ask(Question("GET", "pods")), "pods")
        return [pod for one in pods if (pod := _machine(one)) is not None and pod.state != "ended"]

    async def end(self, machine_id: str) -> None:
        """Asks that a pod be deleted, with its disks; network volumes stay."""
        answer = await self.api.ask(Question("DELETE", f"pods/{segment(machine_id)}"))
        if answer.status != 204 and not (answer.status == 404 and answer.is_json):
            self.api.checked(answer)

    async def start(self, machine_id: str) -> None:
        """Starts a stopped pod. Raises OutcomeError NO_CAPACITY where others have its GPUs, VANISHED where it is gone."""
        answer = await self.api.ask(Question("POST", f"pods/{segment(machine_id)}/action", body={"action": "start"}))
        if answer.status == 404 and answer.is_json:
            raise self.api.refused(answer, Outcome.VANISHED)
        if answer.status == 409:  # it runs, or is about to
            return
        if answer.status == 400 and _NO_CAPACITY.search(answer.detail):
            raise self.api.refused(answer, Outcome.NO_CAPACITY)
        self.api.checked(answer)

    async def logs(self, machine_id: str, after: str = "") -> AsyncIterator[tuple[str, str]]:
        """Lines that the container printed, each with a mark to go on from; ends with the pod."""
        question = Question("GET", f"pods/{segment(machine_id)}/logs", {"source": "container", "tail": 5000})
        async for data, mark in events(self.api, question, after):
            yield _line(data), mark

    async def account(self) -> str:
        """RunPod tells nobody whose key it is: that it is taken, and how many SSH keys the account has."""
        data = self.api.checked(await self.api.ask(Question("GET", "account/ssh-keys"))).data
        return f"an account with {len(texts(data, 'keys'))} SSH keys; RunPod does not say whose"

    async def volumes(self) -> Sequence[Volume]:
        """The account's network volumes."""
        there = self.api.listed(await self.api.ask(Question("GET", "network-volumes")), "networkVolumes")
        return [self._read(one) for one in there if text(one, "id")]

    def volume_usd(self, gb: int) -> float | None:
        """Of a standard volume: 0.07 USD a GB of the first TB, 0.05 of others. RunPod's documentation of prices, 2026."""
        return 0.07 * min(gb, 1000) + 0.05 * max(0, gb - 1000)

    async def create_volume(self, name: str, gb: int, place: str) -> Volume:
        """Makes a network volume. Raises InputError for a data centre without volumes, naming those that have them."""
        body = {"name": name, "size": gb, "dataCenter": place}
        answer = await self.api.once(Question("POST", "network-volumes", body=body))
        if answer.status in (400, 404, 422):
            known = await self._with_volumes()
            hint = f"data centres with volumes: {', '.join(known)}" if known and place not in known else ""
            raise InputError(f"RunPod makes no such volume: {answer.detail}", hint=hint)
        data = self.api.checked(answer).data
        if not text(data, "id"):
            raise OutcomeError(Outcome.UNCERTAIN, "RunPod took the request, and says not what it made")
        return self._read(fields(data))

    async def delete_volume(self, volume_id: str) -> None:
        """Deletes a network volume. Raises RefusedError where a pod uses it."""
        answer = await self.api.ask(Question("DELETE", f"network-volumes/{segment(volume_id)}"))
        if answer.status in (400, 409):
            raise RefusedError(
                f"RunPod does not delete the volume: {answer.detail}", hint="end the machines that use it"
            )
        if answer.status != 204 and not (answer.status == 404 and answer.is_json):
            self.api.checked(answer)

    @property
    def ends_itself(self) -> str:
        """Deletes the pod with the key that RunPod puts into it, which may do little else."""
        return Deletion(f"{self.url}/pods/", "RUNPOD_POD_ID", "RUNPOD_API_KEY").command()

    def by_hand(self, machine_id: str) -> str:
        """RunPod's own command, and its page."""
        return f"`runpodctl pod delete {machine_id}`, or https://console.runpod.io/pods"

    async def _catalogs(self, wanted: Wanted) -> list[tuple[str, list[Fields]]]:
        """The types of each cloud that is asked for, with what is free now; volumes are in secure data centres only."""
        if wanted.cpu:
            params = {"include": "AVAILABILITY", "product": "POD", "vcpuCount": self.vcpus}
            data = self.api.checked(await self.api.ask(Question("GET", "catalog/cpus", params))).data
            return [("secure", objects(data, "cpus"))] if self.cloud != "community" else []
        clouds = ["secure", "community"] if self.cloud == "all" else [self.cloud]
        asked = [cloud for cloud in clouds if cloud == "secure" or not wanted.volume]
        return [*zip(asked, await asyncio.gather(*(self._types(cloud, wanted.count) for cloud in asked)), strict=True)]

    async def _types(self, cloud: str, count: int) -> list[Fields]:
        params = {"include": "AVAILABILITY", "product": "POD", "cloud": cloud.upper(), "count": count}
        data = self.api.checked(await self.api.ask(Question("GET", "catalog/gpus", params))).data
        return objects(data, "gpus")

    def _offered(self, catalog: tuple[str, list[Fields]], wanted: Wanted, place: str) -> Iterator[Offer]:
        cloud, types = catalog
        for one in types:
            offer = self._of_processor(one, wanted) if wanted.cpu else _of_gpu(one, cloud, wanted)
            here = _places(one)
            if offer is None:
                continue
            places = [place] if place else self.data_centers
            if not places:
                yield offer
            for chosen in places:
                if chosen in here and (not self.data_centers or chosen in self.data_centers):
                    yield replace(offer, place=chosen)

    def _of_processor(self, one: Fields, wanted: Wanted) -> Offer | None:
        """The smallest machine of a flavour that has enough of both."""
        each, price = number(one, "ramGbPerVcpu"), number(one, "price", "securePerVcpu")
        if not each or not price or text(one, "availability") == "NONE":
            return None
        most = whole(one, "vcpu", "max")
        sizes = [2**power for power in range(1, 9) if max(self.vcpus, whole(one, "vcpu", "min")) <= 2**power <= most]
        size = next((size for size in sizes if size * each * _GB >= wanted.memory), None)
        if size is None:
            return None
        name = f"{text(one, 'name') or text(one, 'id')}, {size} vCPU"
        key = f"{text(one, 'id')}/{size}"
        return _offer(name, "secure", price * size, key, memory=int(size * each * _GB))

    async def _volume(self, volume_id: str) -> Volume:
        answer = await self.api.ask(Question("GET", f"network-volumes/{segment(volume_id)}"))
        if answer.status == 404 and answer.is_json:
            raise InputError(f"RunPod has no volume `{volume_id}`", hint="`lorry volume list` shows them")
        return self._read(fields(self.api.checked(answer).data))

    def _read(self, one: Fields) -> Volume:
        usd = None if text(one, "type") == "HIGH_PERFORMANCE" else self.volume_usd(whole(one, "size"))
        return Volume(text(one, "id"), text(one, "name"), whole(one, "size"), text(one, "dataCenter"), usd)

    async def _with_volumes(self) -> list[str]:
        data = self.api.checked(await self.api.ask(Question("GET", "catalog/datacenters"))).data
        return sorted(text(one, "id") for one in objects(data, "dataCenters") if texts(one, "networkVolumeTypes"))

    async def _body(self, order: Order) -> dict[str, Any]:
        template = await self._template(order.template) if order.template else {}
        image = {"templateId": text(template, "id")} if template else {"image": order.image or self.default_image}
        is_gpu = order.offer.gpu is not None
        flavour, _, size = order.offer.key.rpartition("/")
        on = (
            {"gpu": {"id": order.offer.key, "count": order.offer.gpus}}
            if is_gpu
            else {"cpu": {"id": flavour, "vcpuCount": int(size)}}
        )
        mounts = _mounts(order)  # that disk outlives a restart of the container, and has the room that was asked for
        place = {"LORRY_PLACE": f"{order.mount}/lorry"} if mounts else {}
        return {
            "name": order.name,
            **image,
            **on,
            "cloud": order.offer.tier.upper() or "SECURE",
            **({"dataCenterIds": [order.offer.place]} if order.offer.place else {}),
            "disk": self.container_gb if is_gpu and not order.volume else max(self.container_gb, order.disk_gb),
            **mounts,
            "ports": ["22/tcp"],
            "env": {**place, **order.environment, "PUBLIC_KEY": order.public_key},
            "args": _args(order.start, text(template, "args")),
        }

    async def _template(self, called: str) -> Fields:
        """The pod template of that id or name: the account's own before RunPod's."""
        known: list[Fields] = []
        for path in ("templates", "catalog/templates"):
            data = self.api.checked(await self.api.ask(Question("GET", path))).data
            known += [one for one in objects(data, "templates") if value(one, "serverless") is not True]
            for one in known:
                if called in (text(one, "id"), text(one, "name")):
                    return one
        names = ", ".join(text(one, "name") for one in known[:10])
        raise OutcomeError(
            Outcome.REQUEST_WRONG, f"RunPod has no template `{called}`", hint=f"there are: {said(names)}"
        )


def _args(start: str, own: str) -> str:
    """The container's command: the order's start command in the background, then what the image would have done.

    RunPod splits it as a shell does.
    """
    then = f"exec {own}" if own else _SSHD
    return f"bash -c {shlex.quote(f'({chr(10)}{start}{chr(10)}) &{chr(10)}{then}' if start else then)}"


def _mounts(order: Order) -> dict[str, Any]:
    """A network volume where one is named, else a disk that outlives a stop; machines without a GPU cannot have one."""
    if order.volume:
        return {"mounts": {"network": [{"volumeId": order.volume, "path": order.mount}]}}
    if order.offer.gpu is None:
        return {}
    return {"mounts": {"persistent": {"size": max(10, order.disk_gb), "path": order.mount}}}


def _suits(one: Fields, wanted: Wanted) -> bool:
    if wanted.cpu:
        return True
    spec = card([text(one, "id"), text(one, "name")], number(one, "memory") or 0)
    return spec is not None and (not wanted.gpus or spec in wanted.gpus) and spec.memory >= wanted.memory


def _places(one: Fields) -> list[str]:
    return [text(there, "id") for there in objects(one, "dataCenters") if text(there, "availability") != "NONE"]


def _of_gpu(one: Fields, cloud: str, wanted: Wanted) -> Offer | None:
    """None for a type that is not wanted, not to be had now, or without a price: nothing is for free."""
    spec, price = card([text(one, "id"), text(one, "name")], number(one, "memory") or 0), number(one, "price", cloud)
    if spec is None or not price or not _suits(one, wanted):
        return None
    if (
        text(one, "availability") == "NONE"
        or value(one, cloud) is False
        or whole(one, "maxCount", cloud) < wanted.count
    ):
        return None
    offer = _offer(spec.name, cloud, price * wanted.count, text(one, "id"), memory=spec.memory)
    return replace(offer, gpu=spec, gpus=wanted.count)


def _offer(machine: str, cloud: str, price: float, key: str, *, memory: int) -> Offer:
    return Offer(
        provider="runpod",
        machine=machine,
        gpu=None,
        memory=memory,
        usd_per_hour=Range.exact(price),
        terms=_TERMS,
        tier=cloud,
        as_of=date.today().isoformat(),
        source="RunPod's catalog",
        key=key,
    )


def _machine(pod: Fields) -> Machine | None:
    """A pod; None for what has no id. One in a state that is not known counts as running, for it may bill."""
    if not text(pod, "id"):
        return None
    state = _STATES.get(text(pod, "status"), "running")
    return Machine(
        id=text(pod, "id"),
        name=text(pod, "name"),
        state=state,
        usd_per_hour=_price(pod, state),
        address=_address(pod) if state == "running" else None,
        created_at=moment(pod, "createdAt"),
    )


def _price(pod: Fields, state: State) -> float:
    """RunPod says 0 of a stopped pod, and bills its disk at twice the price."""
    if state == "stopped":
        return whole(pod, "mounts", "persistent", "size") * _STOPPED_STORAGE / _HOURS_A_MONTH
    return number(pod, "cost") or 0.0


def _address(pod: Fields) -> Address | None:
    """Where SSH is answered directly: the proxy has no files and no commands, and UDP is of no use."""
    if not fields(pod, "runtime"):
        return None
    direct = fields(pod, "ssh", "direct")
    host, port = text(direct, "host"), whole(direct, "port")
    mapped = [
        (text(one, "ip"), whole(one, "public"))
        for one in objects(pod, "runtime", "ports")
        if text(one, "type").lower() == "tcp" and whole(one, "private") == 22
    ]
    if (host, port) not in mapped:
        host, port = next((one for one in mapped if all(one)), ("", 0)) if mapped else (host, port)
    udp = {whole(one, "public") for one in objects(pod, "runtime", "ports") if text(one, "type").lower() == "udp"}
    if not host or not 0 < port < 2**16 or (not mapped and port in udp):
        return None
    return Address(host, port, text(direct, "username") or "root")


def _line(data: str) -> str:
    """What a log's event says; its text as it is where it is no such event."""
    try:
        found = text(json.loads(data), "line")
    except (ValueError, RecursionError):
        found = data
    return found[:_LONGEST_LINE]
