"""Vast.ai: a market of other people's machines, on demand or by bid.

An offer is one machine: rented twice, the second asks in vain. Whoever bids may be outbid: the instance then stands still, its
disk goes on billing, and it runs again when the bid wins again.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, ClassVar

from pydantic import Field

from lorry.compute.outcomes import Outcome, OutcomeError
from lorry.compute.providers._answers import Fields, fields, flag, moment, number, objects, said, text, value, whole
from lorry.compute.providers._base import Address, Capabilities, Machine, Order, State, Texts, Wanted
from lorry.compute.providers._cards import card
from lorry.compute.providers._ending import Deletion
from lorry.compute.providers._http import Answer, HttpProvider, Question, Site, Url, segment, url_setting
from lorry.errors import InputError
from lorry.plan import gpus
from lorry.plan.cost import Interruptions, Terms
from lorry.plan.gpus import GpuSpec
from lorry.plan.offers import Offer
from lorry.plan.prices import prices
from lorry.plan.ranges import Range
from lorry.track.folder import home

_MOST_OFFERS = 64
"""As many as Vast.ai gives at once."""
_PAGE, _MOST_PAGES = 25, 400
_GUESSED = Interruptions(per_hour=Range(0.01, 0.05, 0.25), wait=Range(60, 900, 7200))
"""An assumption, where the price list has none: Vast.ai tells no rates, and a bid ends whenever another is higher."""
_HOURS_A_MONTH = 730
_NAMES = (
    *("RTX 3060", "RTX 3060 Ti", "RTX 3070", "RTX 3070 Ti", "RTX 3080", "RTX 3080 Ti", "RTX 3090", "RTX 3090 Ti"),
    *("RTX 4060", "RTX 4060 Ti", "RTX 4070", "RTX 4070S", "RTX 4070 Ti", "RTX 4070S Ti", "RTX 4080", "RTX 4080S"),
    *("RTX 4090", "RTX 5060", "RTX 5060 Ti", "RTX 5070", "RTX 5070 Ti", "RTX 5080", "RTX 5090", "RTX A2000"),
    *("RTX A4000", "RTX A4500", "RTX A5000", "RTX A6000", "RTX 2000Ada", "RTX 4000Ada", "RTX 4500Ada", "RTX 5000Ada"),
    *("RTX 6000Ada", "RTX PRO 4000", "RTX PRO 4500", "RTX PRO 5000", "RTX PRO 6000 WS", "RTX PRO 6000 S", "A10"),
    *("A30", "A40", "A100 PCIE", "A100 SXM4", "L4", "L40", "L40S", "H100 PCIE", "H100 SXM", "H100 NVL", "H200"),
    *("H200 NVL", "B200", "B300", "GH200 SXM", "Tesla T4", "Tesla V100", "Q RTX 6000", "Q RTX 8000", "Titan RTX"),
    *("RTX 2070", "RTX 2080", "RTX 2080 Ti"),
)
"""What Vast.ai calls its GPUs: it finds them by these names only."""
_SPELLINGS = (
    (r"^Q RTX", "Quadro RTX"),
    (r"(\d)S Ti$", r"\1 Ti Super"),
    (r"(RTX \d+)S$", r"\1 Super"),
    (r"(\d)Ada$", r"\1 Ada"),
    (r" WS$", " Workstation"),
    (r"(PRO \d+) S$", r"\1 Server"),
    (r"^GH200 SXM$", "GH200"),
)
_QUOTA = "search_quota_exceeded"
_NO_INSTANCE = "no_such_instance"
_GONE = re.compile(r"no_such_ask|not available|already rented|unavailable|does not exist", re.IGNORECASE)
_NO_CREDIT = re.compile(r"insufficient[ _]credit|insufficient[ _](?:funds|balance)|lacks? credit", re.IGNORECASE)
_LOW = re.compile(r"\bbid|price", re.IGNORECASE)


class Vast(HttpProvider):
    """Vast.ai: other people's machines, cheap on demand and cheaper by bid, by the second."""

    capabilities: ClassVar[Capabilities] = Capabilities(interruptible=True, stop=True, self_ending="scoped_key")
    key: ClassVar[str] = "VAST_API_KEY"
    key_page: ClassVar[str] = "https://cloud.vast.ai/manage-keys/"
    default_image: ClassVar[str] = "pytorch/pytorch:2.8.0-cuda12.8-cudnn9-runtime"
    url: Url = url_setting("VAST_URL", "https://console.vast.ai")
    """Where the API is; `lorry emulate vast` has one on this computer."""
    verified: bool = True
    """Only hosts that Vast.ai has verified."""
    reliability: float = Field(default=0.95, ge=0, le=1)
    """The least share of time that a host was up."""
    countries: Texts = Field(default_factory=Texts)
    """Only these countries, in two letters (`DE`); empty for any."""

    def site(self) -> Site:
        """Vast.ai's API."""
        return Site("Vast.ai", "vast", self.url, self.key, self.key_page, busy=_busy)

    async def offers(self, wanted: Wanted) -> list[Offer]:
        """What the market has now, on demand and by bid; by bid at what the machine goes for, which a bid has to pass."""
        names = [name for name in _NAMES if any(spec in wanted.gpus for spec in _meant(name))]
        if wanted.cpu or wanted.volume or (wanted.gpus and not names):
            return []
        kinds = ["on-demand"] if wanted.interruptible == "never" else ["on-demand", "bid"]
        found = await asyncio.gather(*(self._search(kind, wanted, names) for kind in kinds))
        on_demand = [offer for row in found[0] for offer in _offered(row, wanted)]
        usual = {offer.key: offer.usd_per_hour.likely for offer in on_demand}
        by_bid = [_by_bid(offer, row, usual) for rows in found[1:] for row in rows for offer in _offered(row, wanted)]
        both = by_bid if wanted.interruptible == "only" else [*on_demand, *by_bid]
        return sorted(both, key=lambda offer: (offer.usd_per_hour.likely, offer.name))

    async def create(self, order: Order) -> Machine:
        """Asks for the machine of an offer, once. An instance that a bid too low leaves behind is destroyed."""
        answer = await self.api.once(Question("PUT", f"api/v0/asks/{segment(order.offer.key)}/", body=_body(order)))
        made = text(answer.data, "new_contract")
        if answer.status in (200, 201) and flag(answer.data, "success"):
            if not made:
                raise OutcomeError(Outcome.UNCERTAIN, "Vast.ai took the request, and says not what it made")
            price = order.offer.usd_per_hour.likely if order.bid is None else order.bid
            return Machine(made, order.name, "starting", price)
        if made:
            await self._destroy_leftover(made)
        if answer.status < 300 and not answer.is_json:
            raise OutcomeError(Outcome.UNCERTAIN, f"Vast.ai answers what is no answer of its: {answer.detail}")
        raise self.api.refused(answer, _refusal(answer, order, left_one=bool(made)))

    async def find(self, machine_id: str) -> Machine | None:
        """The instance as it is now."""
        answer = await self.api.ask(Question("GET", f"api/v0/instances/{segment(machine_id)}/"))
        if _is_gone(answer):
            return None
        data = self.api.checked(answer).data
        if isinstance(data, dict) and "instances" in data and data["instances"] is None:
            return None
        found = _machine(fields(data, "instances"))
        if found is None:
            raise self.api.down("what it tells of an instance has no id")
        return found

    async def list(self) -> Sequence[Machine]:
        """Every instance of the account, page by page."""
        found: dict[str, Machine] = {}
        params: dict[str, str | int] = {"limit": _PAGE}
        for _ in range(_MOST_PAGES):
            data = self.api.checked(await self.api.ask(Question("GET", "api/v1/instances/", params))).data
            if not isinstance(value(data, "instances"), list):
                raise self.api.down("its answer has no list of instances")
            found |= {one.id: one for row in objects(data, "instances") if (one := _machine(row)) is not None}
            token = text(data, "next_token")
            if not token or token == params.get("after_token"):
                return [*found.values()]
            params["after_token"] = token
        raise self.api.down(f"its list of instances has more than {_MOST_PAGES} pages")

    async def end(self, machine_id: str) -> None:
        """Asks that an instance be destroyed, with its disk."""
        answer = await self.api.ask(Question("DELETE", f"api/v0/instances/{segment(machine_id)}/"))
        if _is_gone(answer):
            return
        if value(self.api.checked(answer).data, "success") is False:
            raise self.api.refused(answer)

    async def start(self, machine_id: str) -> None:
        """Asks that a stopped instance run again: it waits until its GPU is free and its bid wins."""
        path = f"api/v0/instances/{segment(machine_id)}/"
        answer = await self.api.ask(Question("PUT", path, body={"state": "running"}))
        if _is_gone(answer):
            raise self.api.refused(answer, Outcome.VANISHED)
        if value(self.api.checked(answer).data, "success") is False:
            raise self.api.refused(answer, _refusal(answer, None, left_one=False))

    async def account(self) -> str:
        """The account's name and credit. The answer holds the key: nothing else of it is passed on."""
        data = self.api.checked(await self.api.ask(Question("GET", "api/v0/users/current/"))).data
        name = said(text(data, "email") or text(data, "username")) or "an account without a name"
        credit = number(data, "credit")
        return name if credit is None else f"{name}, {credit:.2f} USD of credit"

    @property
    def ends_itself(self) -> str:
        """Destroys the instance with the key that Vast.ai puts into it, which is for this instance alone."""
        return Deletion(f"{self.url}/api/v0/instances/", "CONTAINER_ID", "CONTAINER_API_KEY", after="/").command()

    def by_hand(self, machine_id: str) -> str:
        """Vast.ai's own command, and its page."""
        return f"`vastai destroy instance {machine_id}`, or https://cloud.vast.ai/instances/"

    async def _search(self, kind: str, wanted: Wanted, names: Sequence[str]) -> list[Fields]:
        filters: dict[str, Any] = {
            "num_gpus": {"eq": wanted.count},
            "rentable": {"eq": True},
            "rented": {"eq": False},
            "external": {"eq": False},
            "direct_port_count": {"gte": 1},
            "reliability2": {"gte": self.reliability},
            "order": [["dph_total", "asc"]],
            "type": kind,
            "limit": _MOST_OFFERS,
            "allocated_storage": max(5.0, wanted.disk_gb),
            "disk_space": {"gte": max(5.0, wanted.disk_gb)},
            **({"verified": {"eq": True}} if self.verified else {}),
            **({"gpu_name": {"in": [*names]}} if names else {}),
            **({"geolocation": {"in": self.countries}} if self.countries else {}),
        }
        answer = await self.api.ask(Question("POST", "api/v0/bundles/", body=filters))
        if _QUOTA in _words(answer):
            raise OutcomeError(Outcome.BUSY, f"Vast.ai asks to wait: {answer.detail}", retry_after=_busy(answer))
        return objects(self.api.checked(answer).data, "offers")

    async def _destroy_leftover(self, instance: str) -> None:
        """Raises OutcomeError UNCERTAIN where that cannot be done: its name finds it later."""
        try:
            await self.end(instance)
        except OutcomeError as error:
            told = f"Vast.ai refused the bid, and the stopped instance {instance} that it left is not gone: {error}"
            raise OutcomeError(Outcome.UNCERTAIN, told) from error


def _meant(name: str) -> list[GpuSpec]:
    """The cards that one of Vast.ai's names may mean."""
    return gpus.variants(_spelled(name))


def _spelled(name: str) -> str:
    for pattern, spelling in _SPELLINGS:
        name = re.sub(pattern, spelling, name)
    return name


def _offered(row: Fields, wanted: Wanted) -> Iterator[Offer]:
    """None for what is not wanted, has no number, or no price."""
    key, price = text(row, "id") or text(row, "ask_contract_id"), number(row, "dph_total")
    spec = card([_spelled(text(row, "gpu_name"))], (number(row, "gpu_ram") or 0) / 1024)
    if not key or not price or spec is None or (wanted.gpus and spec not in wanted.gpus):
        return
    if spec.memory < wanted.memory or whole(row, "num_gpus") != wanted.count:
        return
    yield Offer(
        provider="vast",
        machine=text(row, "machine_id") or spec.name,
        gpu=spec,
        memory=spec.memory,
        usd_per_hour=Range.exact(price),
        terms=Terms(egress=number(row, "inet_up_cost")),
        tier="on demand",
        gpus=wanted.count,
        as_of=date.today().isoformat(),
        source="Vast.ai's search",
        key=key,
        place=text(row, "geolocation"),
    )


def _by_bid(offer: Offer, row: Fields, on_demand: Mapping[str, float]) -> Offer:
    """At the least that a bid must be, and the disk's price."""
    total, least = offer.usd_per_hour.likely, number(row, "min_bid")
    disk = max(0.0, total - (number(row, "dph_base") or total))
    return replace(
        offer,
        tier="bid",
        usd_per_hour=Range.exact(least + disk if least else total),
        terms=replace(offer.terms, interruptions=_interruptions()),
        on_demand=on_demand.get(offer.key),
        uncertain=True,
    )


def _interruptions() -> Interruptions:
    """How often a bid is beaten: as the price list says, else a guess."""
    with suppress(InputError):
        listed = (offer.terms.interruptions for offer in prices(home()).offers if offer.provider == "vast")
        return next(filter(None, listed), _GUESSED)
    return _GUESSED


def _body(order: Order) -> dict[str, Any]:
    """Vast.ai replaces the image's command by its SSH; the start command runs beside it, with the key that may log in."""
    image = {"template_hash_id": order.template} if order.template else {"image": order.image or Vast.default_image}
    login = (
        'mkdir -p ~/.ssh && touch ~/.ssh/authorized_keys && { grep -qxF "$PUBLIC_KEY" ~/.ssh/authorized_keys'
        " || printf '%s\\n' \"$PUBLIC_KEY\" >>~/.ssh/authorized_keys; } && chmod -R go= ~/.ssh"
    )
    return {
        "client_id": "me",
        **image,
        "env": {**order.environment, "PUBLIC_KEY": order.public_key},
        "price": order.bid,
        "disk": float(order.disk_gb),
        "label": order.name,
        "onstart": f"(\n{order.start}\n) &\n{login}" if order.start else login,
        "runtype": "ssh_direc ssh_proxy",
        "cancel_unavail": True,
    }


def _refusal(answer: Answer, order: Order | None, *, left_one: bool) -> Outcome:
    """What a refusal means: Vast.ai says it in words, with several statuses."""
    told = f"{answer.detail} {_words(answer)}"
    if answer.status == 402 or _NO_CREDIT.search(told):
        return Outcome.BALANCE_EMPTY
    if order is not None and order.bid is not None and (left_one or _LOW.search(told)):
        return Outcome.BID_TOO_LOW
    if answer.status in (404, 409, 410) or _GONE.search(told):
        return Outcome.NO_CAPACITY
    return Outcome.NOT_ALLOWED if answer.status == 403 else Outcome.REQUEST_WRONG


def _is_gone(answer: Answer) -> bool:
    return answer.is_json and (answer.status == 404 or _NO_INSTANCE in _words(answer))


def _words(answer: Answer) -> str:
    """How Vast.ai itself refuses; empty for a success, in which strangers' hosts have their say."""
    error = text(answer.data, "error")
    is_refusal = answer.status >= 400 or value(answer.data, "success") is False or bool(error)
    return f"{error} {text(answer.data, 'msg')}" if is_refusal else ""


def _machine(row: Fields) -> Machine | None:
    """An instance; None for what has no id."""
    if not text(row, "id"):
        return None
    state, told = _state(row), text(row, "status_msg")
    return Machine(
        id=text(row, "id"),
        name=text(row, "label"),
        state=state,
        usd_per_hour=_storage(row) if state == "stopped" else number(row, "dph_total") or 0.0,
        address=_address(row) if state == "running" else None,
        why=said(told),
        preempted=state == "stopped" and flag(row, "is_bid") and not _NO_CREDIT.search(told),
        balance_empty=state == "stopped" and bool(_NO_CREDIT.search(told)),
        created_at=moment(row, "start_date"),
    )


def _state(row: Fields) -> State:
    """What is not known counts as starting or running: it may bill."""
    actual, current = text(row, "actual_status"), text(row, "cur_state")
    if actual in ("offline", "unknown"):
        return "broken"
    if actual in ("exited", "stopped") or current == "stopped":
        return "stopped"
    return "running" if actual == "running" else "starting"


def _storage(row: Fields) -> float:
    """USD an hour of the disk, which bills while the instance stands still; `storage_cost` is per GB and month."""
    return (number(row, "storage_cost") or 0.0) * (number(row, "disk_space") or 0.0) / _HOURS_A_MONTH


def _address(row: Fields) -> Address | None:
    """The machine's own port, else Vast.ai's proxy, which passes everything."""
    direct = next(iter(objects(row, "ports", "22/tcp")), {})
    port = text(direct, "HostPort")
    places = [(text(row, "public_ipaddr").strip(), port), (text(row, "ssh_host"), text(row, "ssh_port"))]
    for host, given in places:
        if host and given.isascii() and given.isdigit() and 0 < int(given) < 2**16:
            return Address(host, int(given), "root")
    return None


def _busy(answer: Answer) -> float | None:
    """The daily quota of searches comes back at midnight UTC; else as the header says."""
    if _QUOTA in _words(answer):
        return seconds_to_midnight(datetime.now(UTC))
    return answer.retry_after


def seconds_to_midnight(now: datetime) -> float:
    """Seconds until the next midnight UTC."""
    midnight = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    return (midnight - now).total_seconds()
