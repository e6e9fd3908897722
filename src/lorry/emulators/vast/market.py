"""The emulated market: offers of many hosts, found by filters as Vast.ai's search takes them."""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

_FILE = Path(__file__).parent / "market.json"
_FIRST = 7_000_001
_STORAGE = 0.15
"""USD a GB and month, while it runs and while it is stopped; each host sets its own."""
_MOST = 64
Json = dict[str, Any]
_TESTS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq,
    "neq": operator.ne,
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
    "in": lambda have, wanted: have in wanted,
    "notin": lambda have, wanted: have not in wanted,
}
_NO_FILTERS = ("order", "type", "limit", "allocated_storage")


class QuestionError(ValueError):
    """A filter that nobody understands."""


@cache
def offers() -> Mapping[int, Json]:
    """Every offer there is, by its number, rented or not."""
    content = json.loads(_FILE.read_text("utf-8"))
    rows = [(gpu, host) for gpu in content["gpus"] for host in range(gpu["hosts"])]
    places = content["places"]
    return {_FIRST + n: _offer(_FIRST + n, gpu, host, places[n % len(places)]) for n, (gpu, host) in enumerate(rows)}


def search(body: Any, rented: set[int], least: Callable[[int], float]) -> list[Json]:
    """The offers that fit, in the order that is asked for; those that are rented are shown only by their bid.

    `least` is the lowest bid that wins an offer now. Raises QuestionError for filters that cannot be understood.
    """
    if not isinstance(body, dict):
        raise QuestionError("filters must be an object")
    question: Json = body
    kind = question.get("type", "on-demand")
    storage = float(question.get("allocated_storage", 5.0))
    found = [_priced(offer, kind, storage, least(number)) for number, offer in offers().items() if number not in rented]
    fit = [offer for offer in found if _fits(offer, question)]
    for name, direction in reversed(_order(question)):
        fit.sort(key=lambda offer: offer[name], reverse=direction == "desc")
    return fit[: min(int(question.get("limit", _MOST)), _MOST)]


def storage_price(gb: float) -> float:
    """USD an hour of a disk."""
    return gb * _STORAGE / 730


def _offer(number: int, gpu: Json, host: int, place: str) -> Json:
    cheap, usual = gpu["usd"]
    price = round(cheap + (usual - cheap) * host / max(1, gpu["hosts"]), 4)
    return {
        "id": number,
        "ask_contract_id": number,
        "machine_id": number - 6_900_000,
        "host_id": number % 997,
        "gpu_name": gpu["name"],
        "num_gpus": 1,
        "gpu_ram": gpu["memory"] * 1024,
        "gpu_total_ram": gpu["memory"] * 1024,
        "cpu_cores_effective": 8.0,
        "cpu_ram": 64_000,
        "dph_base": price,
        "min_bid": round(gpu["bid"] * price / cheap, 4),
        "reliability2": round(0.999 - 0.004 * (host % 20), 4),
        "inet_down": 900.0,
        "inet_up": 400.0,
        "inet_up_cost": 0.005,
        "inet_down_cost": 0.005,
        "disk_space": 500.0,
        "storage_cost": _STORAGE,
        "cuda_max_good": 12.8,
        "geolocation": place,
        "direct_port_count": 50,
        "verified": True,
        "verification": "verified",
        "rentable": True,
        "rented": False,
        "external": False,
        "static_ip": True,
        "duration": 30 * 86_400.0,
    }


def _priced(offer: Json, kind: str, storage: float, least: float) -> Json:
    disk = storage_price(storage)
    base = least if kind == "bid" else offer["dph_base"]
    return {**offer, "min_bid": least, "dph_base": base, "dph_total": round(base + disk, 6), "storage_total_cost": disk}


def _fits(offer: Json, question: Json) -> bool:
    for name, conditions in question.items():
        if name in _NO_FILTERS:
            continue
        wanted = conditions if isinstance(conditions, dict) else {"eq": conditions}
        for test, value in wanted.items():
            if test not in _TESTS:
                raise QuestionError(f"{name}: unknown operator {test}")
            if name == "geolocation":
                if not _lies_in(offer[name], test, value):
                    return False
            elif name in offer and not _holds(_TESTS[test], offer[name], value, name):
                return False
    return True


def _holds(test: Callable[[Any, Any], bool], have: Any, wanted: Any, name: str) -> bool:
    try:
        return test(have, wanted)
    except TypeError:
        raise QuestionError(f"{name}: {wanted!r} cannot be compared") from None


def _lies_in(place: str, test: str, wanted: Any) -> bool:
    """Countries are given in two letters, and told with a region before them."""
    country = place.rsplit(", ", 1)[-1]
    return _TESTS[test](country, wanted) or _TESTS[test](place, wanted)


def _order(question: Json) -> list[tuple[str, str]]:
    order: list[tuple[str, str]] = []
    for pair in question.get("order", [["dph_total", "asc"]]):
        if not isinstance(pair, list) or len(pair) != 2 or pair[0] not in {*next(iter(offers().values())), "dph_total"}:
            raise QuestionError(f"order: {pair!r} is not understood")
        order.append((str(pair[0]), str(pair[1])))
    return order
