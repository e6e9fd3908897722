"""Instances of the emulated Vast.ai: rented on demand or by bid, outbid, resumed, destroyed."""

from __future__ import annotations

import secrets
import shlex
from typing import Any

from lorry.emulators.fleet import Fleet
from lorry.emulators.machine import image
from lorry.emulators.rental import Rates, Rental, State
from lorry.emulators.vast import market

Json = dict[str, Any]
HOST = "127.0.0.1"
_RAISED = 1.2
"""By how much somebody bids more when a machine is interrupted."""
_ACTUAL: dict[State, str | None] = {
    "waiting": None,
    "booting": "loading",
    "running": "running",
    "stopped": "exited",
    "broken": "offline",
    "ended": "exited",
}
_FIELDS = frozenset(
    (
        *(
            "client_id",
            "image",
            "env",
            "price",
            "disk",
            "label",
            "onstart",
            "image_login",
            "runtype",
            "args",
            "args_str",
        ),
        *("user", "cancel_unavail", "template_hash_id", "volume_info", "python_utf8", "lang_utf8", "use_jupyter_lab"),
        *("jupyter_dir", "force", "vm", "target_state"),
    )
)


class Refusal(Exception):  # noqa: N818 - what it is
    """A request that Vast.ai answers with an error."""

    def __init__(self, status: int, error: str, message: str, *, wait: int | None = None, **more: Any) -> None:
        super().__init__(message)
        self.status = status
        self.headers = {} if wait is None else {"Retry-After": str(wait)}
        self.body = {"success": False, "error": error, "msg": message, **more}


def create(fleet: Fleet, offer_id: int, body: Any) -> Rental:
    """Rents an offer. Raises Refusal; after a bid that is too low there is a stopped instance all the same."""
    _check(body)
    offer = market.offers().get(offer_id)
    if offer is None or offer_id in rented(fleet):
        raise Refusal(404, "no_such_ask", f"ask {offer_id} is not available")
    if fleet.faults.take("no_capacity", str(body.get("label") or ""), gpu=offer["gpu_name"]):
        raise Refusal(404, "no_such_ask", f"ask {offer_id} is no longer available")
    bid = body.get("price")
    price = offer["dph_base"] if bid is None else float(bid)
    if fleet.balance() < price:
        raise Refusal(400, "insufficient_credit", "your account lacks credit; add some to rent instances")
    rental = _rental(fleet, offer, body, price)
    fleet.rent(rental)
    if bid is not None and float(bid) < least_bid(fleet, offer_id):
        fleet.stop(rental, "outbid")
        told = f"bid {bid} is too low: the machine goes for {least_bid(fleet, offer_id)} now"
        raise Refusal(400, "bid_too_low", told, new_contract=int(rental.id))
    return rental


def describe(fleet: Fleet, rental: Rental) -> Json:
    """An instance, as the API answers."""
    offer = market.offers()[rental.facts["offer"]]
    running, stopped = rental.state == "running", rental.state == "stopped"
    outbid = stopped and rental.facts["is_bid"] and rental.why == "outbid"
    intended = "stopped" if stopped and not _is_wanted(rental) else "running"
    ports: Json = {"22/tcp": [{"HostIp": "0.0.0.0", "HostPort": str(_port(fleet, rental))}]} if running else {}  # noqa: S104 - a text
    if running and rental.fault("udp_port_first"):
        ports = {"22/udp": [{"HostIp": "0.0.0.0", "HostPort": str(rental.port + 1)}], **ports}  # noqa: S104
    return {
        **{
            name: offer[name]
            for name in ("machine_id", "gpu_name", "num_gpus", "gpu_ram", "geolocation", "storage_cost")
        },
        "id": int(rental.id),
        "ask_contract_id": offer["id"],
        "label": rental.name or None,
        "actual_status": "stopped" if outbid else _ACTUAL[rental.state],
        "cur_state": "stopped" if stopped else "running",
        "next_state": "stopped" if stopped else "running",
        "intended_status": "stopped" if outbid else intended,
        "status_msg": rental.why,
        "is_bid": rental.facts["is_bid"],
        "min_bid": least_bid(fleet, offer["id"]),
        "dph_base": rental.rates.compute,
        "dph_total": rental.rates.compute + rental.rates.disk,
        "disk_space": rental.facts["disk"],
        "image_uuid": rental.facts["image"],
        "image_runtype": rental.facts["runtype"],
        "extra_env": [[name, value] for name, value in rental.facts["env"].items()],
        "onstart": rental.facts["onstart"],
        "start_date": rental.created,
        "public_ipaddr": HOST if running else "",
        "ports": ports,
        "ssh_host": HOST if running else None,
        "ssh_port": _port(fleet, rental) if running else None,
        "ssh_user": image.login(),
    }


def move(fleet: Fleet) -> None:
    """Stops whoever is outbid, and starts again whoever's bid wins."""
    for rental in fleet.there():
        if not rental.facts["is_bid"]:
            continue
        least = least_bid(fleet, rental.facts["offer"])
        if rental.state == "stopped" and rental.why == "interrupted by the provider":
            set_least_bid(fleet, rental.facts["offer"], rental.rates.compute * _RAISED)
            rental.why = "outbid"
            fleet.write(rental)
        elif rental.takes_capacity and rental.rates.compute < least:
            fleet.stop(rental, "outbid")
        elif rental.state == "stopped" and _is_wanted(rental) and rental.rates.compute >= least and _can_pay(fleet):
            fleet.start(rental)


def change(fleet: Fleet, rental: Rental, body: Any) -> None:
    """Starts, stops or names an instance."""
    if not isinstance(body, dict) or not {"state", "label"} & set(body):
        raise Refusal(400, "invalid_args", "one of state and label is required")
    state = body.get("state")
    if state not in (None, "running", "stopped"):
        raise Refusal(400, "invalid_args", "state must be running or stopped")
    rental.name = str(body.get("label", rental.name) or "")
    if state == "stopped" and rental.state != "stopped":
        fleet.stop(rental)
    elif state == "running" and rental.state == "stopped":
        if not _can_pay(fleet):
            raise Refusal(400, "insufficient_credit", "your account lacks credit; add some to start instances")
        rental.facts["wanted"] = True
        if not rental.facts["is_bid"]:
            fleet.start(rental)
    if state == "stopped":
        rental.facts["wanted"] = False
    fleet.write(rental)


def bid(fleet: Fleet, rental: Rental, body: Any) -> None:
    """Bids another price for an instance; it stops or starts by it."""
    price = body.get("price") if isinstance(body, dict) else None
    if not isinstance(price, int | float) or price <= 0:
        raise Refusal(400, "invalid_args", "price must be a positive number")
    if not rental.facts["is_bid"]:
        raise Refusal(400, "invalid_args", "this instance is not interruptible")
    rental.rates.compute = float(price)
    rental.bill(fleet.now())
    fleet.write(rental)


def end(fleet: Fleet, rental: Rental) -> None:
    """Destroys an instance, unless a fault keeps that from happening."""
    if rental.take("delete_fails"):
        fleet.write(rental)
        raise Refusal(500, "server_error", "internal server error")
    fleet.end(rental, "destroyed by user")


def dress(fleet: Fleet, rental: Rental, base: str) -> dict[str, str]:
    """What Vast.ai gives to an instance's first process."""
    given = {
        "CONTAINER_ID": rental.id,
        "CONTAINER_API_KEY": rental.key,
        "VAST_CONTAINERLABEL": f"C.{rental.id}",
        "VAST_URL": base,
        "PUBLIC_IPADDR": HOST,
        "VAST_TCP_PORT_22": str(rental.port),
        "ONSTART": rental.facts["onstart"],
    }
    return {**given, "ACCOUNT_KEYS": "\n".join([*fleet.account.ssh_keys, *rental.facts["ssh_keys"]])}


def rented(fleet: Fleet) -> set[int]:
    """Offers that somebody holds."""
    return {one.facts["offer"] for one in fleet.there()}


def least_bid(fleet: Fleet, offer_id: int) -> float:
    """The lowest bid that wins an offer now."""
    set_by_hand = fleet.account.settings.interruption_rate
    usual = float(market.offers()[offer_id]["min_bid"])
    return set_by_hand.get(str(offer_id), set_by_hand.get("*", usual))


def set_least_bid(fleet: Fleet, offer_id: int, price: float) -> None:
    """Lets somebody else bid so much for an offer."""
    fleet.account.settings.interruption_rate[str(offer_id)] = price
    fleet.save()


def _check(body: Any) -> None:
    if not isinstance(body, dict):
        raise Refusal(400, "invalid_args", "the request must be an object")
    unknown = sorted(set(body) - _FIELDS)
    wrong = {
        f"unknown arguments: {', '.join(unknown)}": bool(unknown),
        "image or template_hash_id is required": not (body.get("image") or body.get("template_hash_id")),
        "env must be an object of texts": not isinstance(body.get("env") or {}, dict),
        "disk must be a number of at least 1": not isinstance(body.get("disk", 10), int | float)
        or body.get("disk", 10) < 1,
        "price must be a positive number, or null": not isinstance(body.get("price"), int | float | None)
        or (body.get("price") is not None and body["price"] <= 0),
    }
    for told, is_wrong in wrong.items():
        if is_wrong:
            raise Refusal(400, "invalid_args", told)


def _rental(fleet: Fleet, offer: Json, body: Json, price: float) -> Rental:
    disk = float(body.get("disk", 10))
    storage = market.storage_price(disk)
    environment = {str(k): str(v) for k, v in (body.get("env") or {}).items()}
    kept = {name: value for name, value in environment.items() if not name.startswith("-")}
    runtype = str(body.get("runtype") or "ssh_proxy")
    own = body.get("args") or body.get("args_str")
    words = own if isinstance(own, list) else shlex.split(str(own)) if own else []
    memory = offer["gpu_ram"] * 2**20
    return Rental(
        id=str(10_000_000 + secrets.randbelow(890_000_000)),
        name=str(body.get("label") or ""),
        key=secrets.token_hex(32),
        rates=Rates(compute=price, disk=storage, stopped_disk=storage),
        created=fleet.now(),
        gpu={"id": offer["gpu_name"], "name": offer["gpu_name"], "memory": memory, "count": offer["num_gpus"]},
        words=[str(word) for word in words] if runtype == "args" else ["vast-start.sh"],
        environment=kept,
        keeps_disk=True,
        facts={
            "offer": offer["id"],
            "is_bid": body.get("price") is not None,
            "wanted": True,
            "disk": disk,
            "image": body.get("image"),
            "runtype": runtype,
            "onstart": str(body.get("onstart") or ""),
            "env": environment,
            "ssh_keys": [],
        },
    )


def _is_wanted(rental: Rental) -> bool:
    """Whether it stands still against its owner's will."""
    return bool(rental.facts["wanted"]) and rental.why in ("outbid", "interrupted by the provider", "stopped by user")


def _can_pay(fleet: Fleet) -> bool:
    return fleet.balance() > 0


def _port(fleet: Fleet, rental: Rental) -> int:
    return rental.told_port if rental.told_port and fleet.now() < rental.told_until else rental.port
