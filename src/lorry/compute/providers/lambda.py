"""Lambda Cloud: whole virtual machines on demand, without stop, time limit or interruptible ones.

Nothing on such a machine can end it: only a controller that lives can. Its image is Lambda's own Ubuntu with CUDA.
"""

# ruff: noqa: N999 - the provider is called as its file is
from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterator, Sequence
from datetime import date
from typing import ClassVar

from pydantic import Field, PrivateAttr

from lorry.compute.outcomes import Outcome, OutcomeError
from lorry.compute.providers._answers import Fields, fields, number, objects, text, texts, value, whole
from lorry.compute.providers._base import Address, Capabilities, Machine, Order, State, Texts, Wanted
from lorry.compute.providers._cards import card
from lorry.compute.providers._http import HttpProvider, Question, Site, Url, segment, url_setting
from lorry.plan.cost import Terms
from lorry.plan.offers import Offer
from lorry.plan.ranges import Range

_TERMS = Terms(billed_by=60, storage=0, egress=0)
_GAP, _LAUNCH_GAP = 1.0, 12.0
"""Seconds between two requests, and between two launches, that Lambda asks for."""
_STATES: dict[str, State] = {
    "booting": "starting",
    "active": "running",
    "unhealthy": "broken",
    "terminating": "broken",
    "terminated": "ended",
    "preempted": "ended",
}
_REFUSED = {
    "instance-operations/launch/insufficient-capacity": Outcome.NO_CAPACITY,
    "global/quota-exceeded": Outcome.NOT_ALLOWED,
    "global/account-inactive": Outcome.NOT_ALLOWED,
    "global/invalid-api-key": Outcome.KEY_REFUSED,
}
_USER = "ubuntu"


class Lambda(HttpProvider):
    """Lambda Cloud: virtual machines on demand by the minute; only a controller that lives can end them."""

    capabilities: ClassVar[Capabilities] = Capabilities(self_ending="none")
    key: ClassVar[str] = "LAMBDA_API_KEY"
    key_page: ClassVar[str] = "https://cloud.lambda.ai/api-keys"
    url: Url = url_setting("LAMBDA_API_URL", "https://cloud.lambda.ai/api/v1")
    """Where the API is."""
    regions: Texts = Field(default_factory=Texts)
    """Only these regions (`us-west-1`); empty for any."""
    _launched: float = PrivateAttr(default=-_LAUNCH_GAP)

    def site(self) -> Site:
        """Lambda's API."""
        return Site("Lambda", "lambda", self.url, self.key, self.key_page, gap=_GAP)

    async def offers(self, wanted: Wanted) -> list[Offer]:
        """The types of machines of which a region has one free."""
        if wanted.interruptible == "only" or wanted.cpu or wanted.volume:
            return []
        data = self.api.checked(await self.api.ask(Question("GET", "instance-types"))).data
        found = [offer for one in fields(data, "data").values() for offer in self._offered(fields(one), wanted)]
        return sorted(found, key=lambda offer: (offer.usd_per_hour.likely, offer.name, offer.place))

    async def create(self, order: Order) -> Machine:
        """Launches a machine, once; the public key is registered first, under a name made from it."""
        body = {
            "region_name": order.offer.place,
            "instance_type_name": order.offer.key,
            "ssh_key_names": [await self._registered(order.public_key)],
            "name": order.name,
            **({"user_data": f"#!/bin/sh\n(\n{order.start}\n) &\n"} if order.start else {}),
        }
        await self._in_turn()
        answer = await self.api.once(Question("POST", "instance-operations/launch", body=body))
        if 200 <= answer.status < 300:
            made = next(iter(texts(answer.data, "data", "instance_ids")), "")
            if not made:
                raise OutcomeError(Outcome.UNCERTAIN, "Lambda took the request, and says not what it made")
            return Machine(made, order.name, "starting", order.offer.usd_per_hour.likely)
        default = Outcome.NOT_ALLOWED if answer.status == 403 else Outcome.REQUEST_WRONG
        raise self.api.refused(answer, _REFUSED.get(text(answer.data, "error", "code"), default))

    async def find(self, machine_id: str) -> Machine | None:
        """The machine as it is now."""
        answer = await self.api.ask(Question("GET", f"instances/{segment(machine_id)}"))
        if answer.status == 404 and answer.is_json:
            return None
        found = _machine(fields(self.api.checked(answer).data, "data"))
        if found is None:
            raise self.api.down("what it tells of a machine has no id")
        return found

    async def list(self) -> Sequence[Machine]:
        """Every machine of the account."""
        data = self.api.checked(await self.api.ask(Question("GET", "instances"))).data
        if not isinstance(value(data, "data"), list):
            raise self.api.down("its answer has no list of machines")
        found = [_machine(one) for one in objects(data, "data")]
        return [one for one in found if one is not None and one.state != "ended"]

    async def end(self, machine_id: str) -> None:
        """Asks that a machine be terminated."""
        segment(machine_id)
        body = {"instance_ids": [machine_id]}
        answer = await self.api.ask(Question("POST", "instance-operations/terminate", body=body))
        if answer.is_json and (
            answer.status == 404 or text(answer.data, "error", "code") == "global/object-does-not-exist"
        ):
            return
        self.api.checked(answer)

    async def account(self) -> str:
        """Lambda tells nobody whose key it is: that it is taken, and how many machines the account has."""
        return f"an account with {len(await self.list())} machines; Lambda does not say whose"

    def by_hand(self, machine_id: str) -> str:
        """Lambda's page."""
        return f"terminate {machine_id} at https://cloud.lambda.ai/instances"

    def _offered(self, one: Fields, wanted: Wanted) -> Iterator[Offer]:
        kind = fields(one, "instance_type")
        key, cents = text(kind, "name"), number(kind, "price_cents_per_hour")
        spec = card([*_spelled(text(kind, "gpu_description")), *_spelled(text(kind, "description"))])
        count = whole(kind, "specs", "gpus")
        if not key or not cents or spec is None or count != wanted.count or spec.memory < wanted.memory:
            return
        if wanted.gpus and spec not in wanted.gpus:
            return
        for region in objects(one, "regions_with_capacity_available"):
            place = text(region, "name")
            if place and (not self.regions or place in self.regions):
                yield Offer(
                    provider="lambda",
                    machine=key,
                    gpu=spec,
                    memory=spec.memory,
                    usd_per_hour=Range.exact(cents / 100),
                    terms=_TERMS,
                    gpus=count,
                    as_of=date.today().isoformat(),
                    source="Lambda's list of instance types",
                    key=key,
                    place=place,
                )

    async def _registered(self, public_key: str) -> str:
        """The name under which the account has the key."""
        name = f"lorry-{hashlib.sha256(public_key.strip().encode()).hexdigest()[:16]}"
        data = self.api.checked(await self.api.ask(Question("GET", "ssh-keys"))).data
        if name in [text(one, "name") for one in objects(data, "data")]:
            return name
        answer = await self.api.ask(Question("POST", "ssh-keys", body={"name": name, "public_key": public_key.strip()}))
        if text(answer.data, "error", "code") != "global/duplicate":
            self.api.checked(answer)
        return name

    async def _in_turn(self) -> None:
        """Keeps the gap between launches."""
        now = time.monotonic()
        turn = max(now, self._launched + _LAUNCH_GAP)
        self._launched = turn
        if turn > now:
            await self.api.pause(turn - now)


def _spelled(description: str) -> list[str]:
    """`8x A100 (40 GB SXM4)` as the catalog writes it, `A100 40GB SXM4`; then without what cards of one form do not say."""
    plain = re.sub(r"^\d+x\s+", "", description).replace("(", "").replace(")", "")
    whole_name = re.sub(r"(\d+)\s*GB", r"\1GB", plain)
    return [whole_name, re.sub(r"\s+(?:PCIe|SXM\d?)$", "", whole_name)]


def _machine(one: Fields) -> Machine | None:
    """A machine; None for what has no id. One in a state that is not known counts as running, for it may bill."""
    if not text(one, "id"):
        return None
    told = text(one, "status")
    state = _STATES.get(told, "running")
    host, cents = text(one, "ip"), number(one, "instance_type", "price_cents_per_hour") or 0.0
    return Machine(
        id=text(one, "id"),
        name=text(one, "name"),
        state=state,
        usd_per_hour=0.0 if state == "ended" else cents / 100,
        address=Address(host, 22, _USER) if host and state == "running" else None,
        why=told if state == "broken" else "",
        preempted=told == "preempted",
    )
