"""Pods: how they are asked for, and how the API describes them."""

from __future__ import annotations

import secrets
import shlex
import string
from datetime import UTC, datetime
from typing import Any

from lorry.emulators.fleet import Fleet
from lorry.emulators.machine import image
from lorry.emulators.rental import Rates, Rental, State
from lorry.emulators.runpod import catalog, shapes
from lorry.emulators.runpod.problems import NO_CAPACITY, Problem, not_found

Json = dict[str, Any]
STATUS: dict[State, str] = {
    "waiting": "PROVISIONING",
    "booting": "STARTING",
    "running": "RUNNING",
    "stopped": "EXITED",
    "broken": "ERROR",
    "ended": "TERMINATED",
}
ACTIONS: dict[State, list[str]] = {
    "waiting": ["stop", "terminate"],
    "booting": ["stop", "terminate"],
    "running": ["stop", "restart", "terminate"],
    "stopped": ["start", "terminate"],
    "broken": ["start", "terminate"],
    "ended": [],
}
HOST = "127.0.0.1"
_DISK, _STOPPED = 0.10 / 730, 0.20 / 730
"""USD a GB and hour, of a pod that runs and of one that is stopped (RunPod's pricing page, 2026)."""


def create(fleet: Fleet, body: Any) -> Rental:
    """Takes a pod in, as `POST /v2/pods` does. Raises Problem where the request is wrong, or there is none."""
    shapes.check("CreatePodRequest", body)
    wanted = _with_template(fleet, body)
    _check_rules(wanted)
    cloud = wanted.get("cloud", "SECURE")
    place = _place(fleet, wanted, cloud)
    rates = _rates(wanted, cloud)
    if fleet.faults.take("no_capacity", wanted["name"], gpu=wanted.get("gpu", {}).get("id", "cpu")):
        raise Problem(400, NO_CAPACITY)
    if fleet.balance() < rates.compute:
        raise Problem(402, "insufficient balance: at least one hour of the pod's price is required")
    rental = _rental(fleet, wanted, rates)
    rental.facts = _facts(wanted, cloud, place)
    fleet.rent(rental)
    return rental


def describe(fleet: Fleet, rental: Rental) -> Json:
    """A pod, as the API answers."""
    running = rental.state == "running"
    facts = {name: value for name, value in rental.facts.items() if name not in ("gpu", "cpu", "given")}
    compute = {name: rental.facts[name] for name in ("gpu", "cpu") if rental.facts.get(name)}
    return {
        "id": rental.id,
        "name": rental.name,
        "status": STATUS[rental.state],
        "actions": ACTIONS[rental.state],
        **facts,
        **compute,
        "env": _shown_environment(rental),
        "ssh": {"proxy": _proxy(rental), "direct": _direct(fleet, rental) if running else None},
        "cost": rental.rates.compute if rental.takes_capacity else 0.0,
        "runtime": _runtime(fleet, rental) if running else None,
        "createdAt": told_time(rental.created),
        "startedAt": None if rental.started is None else told_time(rental.started),
    }


def act(fleet: Fleet, rental: Rental, action: str) -> None:
    """Stops, starts, restarts or ends a pod. Raises Problem where its status does not allow that."""
    if action not in ACTIONS[rental.state]:
        raise Problem(409, f"action {action!r} is not valid for a pod with status {STATUS[rental.state]}")
    if action == "stop":
        fleet.stop(rental)
    elif action == "restart":
        fleet.restart(rental)
    elif action == "start":
        _start(fleet, rental)
    else:
        end(fleet, rental)


def end(fleet: Fleet, rental: Rental) -> None:
    """Ends a pod, unless a fault keeps that from happening."""
    if rental.take("delete_fails"):
        fleet.write(rental)
        raise Problem(500, "internal server error")
    fleet.end(rental)


def dress(rental: Rental, url: str) -> dict[str, str]:
    """What RunPod gives to the first process of a pod; sessions do not see it."""
    facts = rental.facts
    gpu = facts.get("gpu") or {}
    given = {
        "RUNPOD_POD_ID": rental.id,
        "RUNPOD_API_KEY": rental.key,
        "RUNPOD_API_URL": url,
        "RUNPOD_DC_ID": facts["dataCenterId"],
        "RUNPOD_POD_HOSTNAME": f"{rental.id}-{rental.key[-8:].lower()}",
        "RUNPOD_PUBLIC_IP": HOST,
        "RUNPOD_GPU_COUNT": str(gpu.get("count", 0)),
        "RUNPOD_CPU_COUNT": str((facts.get("cpu") or {}).get("vcpuCount", 8)),
        "CUDA_VERSION": "12.8.1",
    }
    if gpu:
        given["RUNPOD_GPU_NAME"] = gpu["id"]
    if rental.volume:
        given["RUNPOD_VOLUME_ID"] = rental.volume
    if _has_ssh(rental):
        given["RUNPOD_TCP_PORT_22"] = str(rental.port)
    return given


def told_time(at: float) -> str:
    """A time as the API tells it."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def new_id(length: int = 14) -> str:
    """An id as RunPod's look."""
    return "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(length))


def _with_template(fleet: Fleet, body: Json) -> Json:
    """The request with what its template says and it does not; variables are merged one by one."""
    if "templateId" not in body:
        return dict(body)
    template = fleet.account.templates.get(body["templateId"])
    if template is None:
        raise not_found("template")
    if template["serverless"]:
        raise Problem(422, "Request validation failed.", errors=["$.templateId: template is a serverless template"])
    names = ("image", "args", "disk", "ports", "registry", "mounts", "startSsh", "startJupyter")
    taken = {name: template[name] for name in names if template.get(name) not in (None, {})}
    return {**taken, **body, "env": {**template["env"], **body.get("env", {})}}


def _check_rules(wanted: Json) -> None:
    """Raises Problem for what the shape alone does not forbid."""
    mounts = wanted.get("mounts", {})
    gpu, cpu = wanted.get("gpu"), wanted.get("cpu")
    rules = {
        "exactly one of gpu or cpu is required": (gpu is None) == (cpu is None),
        "mounts.persistent and mounts.network are mutually exclusive": "persistent" in mounts and "network" in mounts,
        "cpu pods do not support mounts.persistent": cpu is not None and "persistent" in mounts,
        "network volumes require cloud SECURE": bool(mounts.get("network")) and wanted.get("cloud") == "COMMUNITY",
        "allowedCudaVersions and minCudaVersion are mutually exclusive": gpu is not None
        and "allowedCudaVersions" in gpu
        and "minCudaVersion" in gpu,
        "cpu.vcpuCount must be a power of two": cpu is not None and cpu["vcpuCount"] & (cpu["vcpuCount"] - 1) != 0,
        "env must have at most 50 variables": len(wanted.get("env", {})) > 50,
    }
    for text, is_broken in rules.items():
        if is_broken:
            raise Problem(400, text)
    try:
        shlex.split(wanted.get("args", ""))
    except ValueError as error:
        raise Problem(400, f"args: {error}") from error


def _place(fleet: Fleet, wanted: Json, cloud: str) -> str:
    """The data centre where it is put. Raises Problem where there is none with what is wanted."""
    places = wanted.get("dataCenterIds") or [row["id"] for row in catalog.content()["dataCenters"]]
    for mount in wanted.get("mounts", {}).get("network", []):
        volume = fleet.account.volumes.get(mount["volumeId"])
        if volume is None or volume.deleted:
            raise not_found("network volume")
        places = [place for place in places if place == volume.place]
    if "cpu" in wanted:
        if catalog.cpu(wanted["cpu"]["id"]) is None:
            raise Problem(400, f"unknown cpu flavor: {wanted['cpu']['id']}")
        found = [place for place in places if catalog.centre(place)]
    else:
        row, count = catalog.gpu(wanted["gpu"]["id"]), wanted["gpu"].get("count", 1)
        if row is None:
            raise Problem(400, f"unknown gpu type: {wanted['gpu']['id']}")
        is_sold = catalog.price(row, cloud) > 0 and count <= (8 if cloud == "SECURE" else 4)
        found = [place for place in places if is_sold and catalog.level(fleet, row, place, count) != "NONE"]
    if not found:
        raise Problem(400, NO_CAPACITY)
    return found[0]


def _rates(wanted: Json, cloud: str) -> Rates:
    own = wanted.get("mounts", {}).get("persistent", {}).get("size", 0)
    disk = (wanted.get("disk", 20) + own) * _DISK
    if "cpu" in wanted:
        row = catalog.cpu(wanted["cpu"]["id"]) or {}
        compute = row["price"] * wanted["cpu"]["vcpuCount"]
    else:
        row = catalog.gpu(wanted["gpu"]["id"]) or {}
        compute = catalog.price(row, cloud) * wanted["gpu"].get("count", 1)
    return Rates(compute=round(compute, 4), disk=disk, stopped_disk=own * _STOPPED)


def _rental(fleet: Fleet, wanted: Json, rates: Rates) -> Rental:
    mounts = wanted.get("mounts", {})
    network = mounts.get("network", [])
    mount = network[0] if network else mounts.get("persistent", {})
    environment = dict(wanted.get("env", {}))
    if wanted.get("startSsh") and fleet.account.ssh_keys:
        environment.setdefault("PUBLIC_KEY", "\n".join(fleet.account.ssh_keys))
    if wanted.get("startJupyter"):
        environment.setdefault("JUPYTER_PASSWORD", secrets.token_hex(8))
    return Rental(
        id=new_id(),
        name=wanted["name"],
        key=f"rpa_POD{secrets.token_hex(16).upper()}",
        rates=rates,
        created=fleet.now(),
        gpu=_sold(wanted),
        words=shlex.split(wanted.get("args", "")),
        environment=environment,
        mount=mount.get("path", ""),
        volume=network[0]["volumeId"] if network else "",
    )


def _sold(wanted: Json) -> Json | None:
    if "gpu" not in wanted:
        return None
    row = catalog.gpu(wanted["gpu"]["id"]) or {}
    count = wanted["gpu"].get("count", 1)
    return {"id": row["id"], "name": row["id"], "memory": row["memory"] * 2**30, "count": count}


def _facts(wanted: Json, cloud: str, place: str) -> Json:
    """What the API tells of a pod and never changes."""
    gpu, cpu = wanted.get("gpu"), wanted.get("cpu")
    flavour = catalog.cpu(cpu["id"]) if cpu else None
    return {
        "image": wanted["image"],
        "args": wanted.get("args", ""),
        "disk": wanted.get("disk", 20),
        "mounts": wanted.get("mounts", {}),
        "ports": wanted.get("ports", []),
        "registry": wanted.get("registry"),
        "cloud": cloud,
        "dataCenterId": place,
        "cudaVersion": "12.8" if gpu else None,
        "template": None,
        "locked": False,
        "globalNetworking": {"enabled": bool(wanted.get("globalNetworking", False))},
        "gpu": {"id": gpu["id"], "count": gpu.get("count", 1)} if gpu else None,
        "cpu": {**cpu, "memory": int(cpu["vcpuCount"] * flavour["ram"])} if cpu and flavour else None,
        "given": sorted(wanted.get("env", {})),
    }


def _shown_environment(rental: Rental) -> dict[str, str]:
    """What the request gave; what `startSsh` and `startJupyter` inject is never told."""
    return {name: rental.environment[name] for name in rental.facts["given"]}


def _start(fleet: Fleet, rental: Rental) -> None:
    gpu = rental.gpu
    if gpu and rental.state == "stopped":
        capacity = fleet.account.settings.capacity.get(gpu["id"])
        if capacity is not None and capacity - fleet.rented_gpus(gpu["id"]) < gpu["count"]:
            raise Problem(400, "There are not enough free GPUs on the host machine to start this pod.")
    fleet.start(rental)


def _has_ssh(rental: Rental) -> bool:
    return "22/tcp" in rental.facts["ports"]


def _told_port(fleet: Fleet, rental: Rental) -> int:
    return rental.told_port if rental.told_port and fleet.now() < rental.told_until else rental.port


def _direct(fleet: Fleet, rental: Rental) -> Json | None:
    if not _has_ssh(rental):
        return None
    port, user = _told_port(fleet, rental), image.login()
    return {"host": HOST, "port": port, "username": user, "command": f"ssh {user}@{HOST} -p {port}"}


def _proxy(rental: Rental) -> Json:
    """Told as by RunPod; nobody answers there."""
    user = f"{rental.id}-{rental.key[-8:].lower()}"
    return {"host": "ssh.runpod.io", "port": 22, "username": user, "command": f"ssh {user}@ssh.runpod.io"}


def _runtime(fleet: Fleet, rental: Rental) -> Json:
    count = (rental.facts.get("gpu") or {}).get("count", 0)
    ports: list[Json] = []
    for number, port in enumerate(rental.facts["ports"]):
        private, _, kind = port.partition("/")
        if port == "22/tcp":
            ports.append({"private": 22, "public": _told_port(fleet, rental), "type": "tcp", "ip": HOST})
        elif private.isdigit():
            ports.append({"private": int(private), "public": 60_000 + number, "type": kind, "ip": "100.65.0.101"})
    if rental.fault("udp_port_first"):
        ports.insert(0, {"private": 22, "public": rental.port + 1, "type": "udp", "ip": HOST})
    return {
        "uptime": max(0, int(fleet.now() - (rental.started or fleet.now()))),
        "gpus": [{"util": 0, "memoryUtil": 0}] * count,
        "cpu": {"util": 0},
        "memory": {"util": 0},
        "ports": ports,
    }
