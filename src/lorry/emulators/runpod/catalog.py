"""What the emulated RunPod has to rent: GPU types, CPU flavours and data centres, with prices and stock."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

from starlette.datastructures import QueryParams

from lorry.emulators.fleet import Fleet
from lorry.emulators.runpod.problems import Problem, not_found

_FILE = Path(__file__).parent / "catalog.json"
_LEVELS = ("NONE", "LOW", "MEDIUM", "HIGH")
_CONDITIONAL = ("product", "count", "cloud", "countryCodes", "cudaVersions", "minCudaVersion")
Json = dict[str, Any]


@cache
def content() -> Json:
    """The catalog's file."""
    return json.loads(_FILE.read_text("utf-8"))


def gpu(gpu_id: str) -> Json | None:
    """The catalog's row of a GPU type."""
    return next((row for row in content()["gpus"] if row["id"] == gpu_id), None)


def cpu(flavour: str) -> Json | None:
    """The catalog's row of a CPU flavour."""
    return next((row for row in content()["cpus"] if row["id"] == flavour), None)


def centre(centre_id: str) -> Json | None:
    """The catalog's row of a data centre."""
    return next((row for row in content()["dataCenters"] if row["id"] == centre_id), None)


def price(row: Json, cloud: str) -> float:
    """USD per GPU and hour in `SECURE` or `COMMUNITY`; 0 where there is none."""
    return float(row[cloud.lower()])


def level(fleet: Fleet, row: Json, place: str, count: int = 1) -> str:
    """How many there are in a data centre: NONE to HIGH; what is set as the capacity wins."""
    capacity = fleet.account.settings.capacity.get(row["id"])
    if capacity is not None and capacity - fleet.rented_gpus(row["id"]) < count:
        return "NONE"
    return str(row["stock"].get(place, "NONE"))


def gpus(fleet: Fleet, query: QueryParams) -> Json:
    """All GPU types, as `GET /v2/catalog/gpus` answers."""
    shown = [_gpu(fleet, row, query) for row in content()["gpus"]]
    countries = bool(_words(query, "countryCodes"))
    return {"gpus": [one for one in shown if not countries or one.get("dataCenters")]}


def one_gpu(fleet: Fleet, gpu_id: str, query: QueryParams) -> Json:
    """One GPU type, as `GET /v2/catalog/gpus/{id}` answers."""
    row = gpu(gpu_id)
    if row is None:
        raise not_found()
    return _gpu(fleet, row, query)


def _gpu(fleet: Fleet, row: Json, query: QueryParams) -> Json:
    most = {"SECURE": 8 if row["secure"] else 0, "COMMUNITY": 4 if row["community"] else 0}
    shown: Json = {
        **{name: row[name] for name in ("id", "name", "pool", "memory")},
        "manufacturer": "NVIDIA",
        "secure": bool(row["secure"]),
        "community": bool(row["community"]),
        "price": {"secure": row["secure"], "community": row["community"]},
        "maxCount": {"secure": most["SECURE"], "community": most["COMMUNITY"]},
    }
    if not _with_stock(query, "AVAILABILITY"):
        return shown
    cloud = query.get("cloud", "SECURE")
    if cloud not in ("SECURE", "COMMUNITY"):
        raise Problem(422, "Request validation failed.", errors=[f"cloud: {cloud!r} is not one of SECURE, COMMUNITY"])
    count = _count(query)
    countries = _words(query, "countryCodes")
    if any(not re.fullmatch("[A-Z]{2}", word) for word in countries):
        raise Problem(422, "Request validation failed.", errors=["countryCodes: malformed country code"])
    places = [one for one in content()["dataCenters"] if not countries or one["country"] in countries]
    is_sold = price(row, cloud) > 0 and count <= most[cloud] and _has_cuda(query)
    told = [
        {"id": one["id"], "name": one["name"], "availability": level(fleet, row, one["id"], count)}
        for one in places
        if is_sold and one["id"] in row["stock"]
    ]
    best = max((_LEVELS.index(one["availability"]) for one in told), default=0)
    versions = [{"version": version, "available": True} for version in content()["cuda"]]
    return {**shown, "availability": _LEVELS[best], "dataCenters": told, "cudaVersions": versions}


def cpus(query: QueryParams) -> Json:
    """All CPU flavours, as `GET /v2/catalog/cpus` answers."""
    return {"cpus": [one_cpu(row["id"], query) for row in content()["cpus"]]}


def one_cpu(flavour: str, query: QueryParams) -> Json:
    """One CPU flavour, as `GET /v2/catalog/cpus/{id}` answers."""
    row = cpu(flavour)
    if row is None:
        raise not_found()
    shown = {
        **{name: row[name] for name in ("id", "name", "group")},
        "vcpu": {"min": 2, "max": 32},
        "ramGbPerVcpu": row["ram"],
        "price": {"securePerVcpu": row["price"], "serverlessPerVcpu": row["serverless"]},
    }
    if _with_stock(query, "AVAILABILITY"):
        places = [{"id": o["id"], "name": o["name"], "availability": "HIGH"} for o in content()["dataCenters"]]
        shown |= {"availability": "HIGH", "dataCenters": places}
    return shown


def centres(fleet: Fleet, query: QueryParams) -> Json:
    """All data centres, as `GET /v2/catalog/datacenters` answers."""
    regions, volumes = _words(query, "regions"), _words(query, "networkVolumeTypes")
    found = [
        row
        for row in content()["dataCenters"]
        if (not regions or row["region"] in regions) and set(volumes) <= set(row["volumes"])
    ]
    return {"dataCenters": [one_centre(fleet, row["id"], query) for row in found]}


def one_centre(fleet: Fleet, centre_id: str, query: QueryParams) -> Json:
    """One data centre, as `GET /v2/catalog/datacenters/{id}` answers."""
    row = centre(centre_id)
    if row is None:
        raise not_found()
    shown = {name: row[name] for name in ("id", "name", "region")}
    shown |= {"networkVolumeTypes": row["volumes"], "compliance": [], "globalNetwork": row["region"] == "NORTH_AMERICA"}
    wanted = _words(query, "include")
    if "GPU_AVAILABILITY" in wanted:
        rows = [one for one in content()["gpus"] if centre_id in one["stock"]]
        shown["gpuAvailability"] = [
            {"id": one["id"], "name": one["name"], "availability": level(fleet, one, centre_id)} for one in rows
        ]
    if "CPU_AVAILABILITY" in wanted:
        shown["cpuAvailability"] = [
            {"id": one["id"], "name": one["name"], "availability": "HIGH"} for one in content()["cpus"]
        ]
    return shown


def _with_stock(query: QueryParams, include: str) -> bool:
    """Whether stock is asked for. Raises Problem where the parameters do not go together."""
    wanted = _words(query, "include")
    if any(word != include for word in wanted):
        raise Problem(422, "Request validation failed.", errors=[f"include: {wanted} is not one of {include}"])
    given = [name for name in _CONDITIONAL if name in query]
    if not wanted and given:
        raise Problem(400, f"{given[0]} is valid only with include={include}")
    if wanted and "product" not in query:
        raise Problem(400, f"product is required with include={include}")
    if "cudaVersions" in query and "minCudaVersion" in query:
        raise Problem(400, "cudaVersions and minCudaVersion are mutually exclusive")
    return bool(wanted)


def _count(query: QueryParams) -> int:
    text = query.get("count", "1")
    if not text.isdigit() or int(text) < 1:
        raise Problem(422, "Request validation failed.", errors=["count: must be an integer of at least 1"])
    return int(text)


def _has_cuda(query: QueryParams) -> bool:
    exact, least = _words(query, "cudaVersions"), query.get("minCudaVersion")
    have = content()["cuda"]
    if least:
        return any(_number(one) >= _number(least) for one in have)
    return not exact or any(one in have for one in exact)


def _number(version: str) -> tuple[int, ...]:
    if not re.fullmatch(r"\d+(\.\d+)?", version):
        raise Problem(422, "Request validation failed.", errors=[f"minCudaVersion: {version!r} is malformed"])
    return tuple(int(part) for part in version.split("."))


def _words(query: QueryParams, name: str) -> list[str]:
    return [word for word in query.get(name, "").split(",") if word]
