"""Small clouds in memory that speak the providers' APIs: machines are rows, and time does not pass."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import count
from typing import Any

import httpx

from scripted import SECRET

Row = dict[str, Any]


class Cloud:
    """Answers requests by a table of `METHOD pattern`; a machine is started at its second look."""

    def __init__(self) -> None:
        self.machines: dict[str, Row] = {}
        self.volumes: dict[str, Row] = {}
        self.keys: list[Row] = []
        self.ids = count(1)
        self.routes: list[tuple[re.Pattern[str], Callable[..., httpx.Response]]] = []

    def on(self, pattern: str, answer: Callable[..., httpx.Response]) -> None:
        self.routes.append((re.compile(pattern), answer))

    def handle(self, request: httpx.Request) -> httpx.Response:
        if request.headers.get("authorization") != f"Bearer {SECRET}":
            return problem(401, "missing bearer token")
        for pattern, answer in self.routes:
            if found := pattern.fullmatch(f"{request.method} {request.url.path}"):
                body = json.loads(request.content) if request.content else {}
                return answer(*found.groups(), **({"body": body} if body else {}))
        return problem(404, "resource not found")

    def id(self) -> str:
        return str(next(self.ids))


def problem(status: int, detail: str) -> httpx.Response:
    return httpx.Response(status, json={"title": "Problem", "status": status, "detail": detail})


def say(data: Any, status: int = 200) -> httpx.Response:
    return httpx.Response(status, json=data)


def runpod() -> Cloud:
    cloud = Cloud()

    def shown(pod: Row) -> Row:
        up = pod["status"] == "RUNNING"
        direct = {"host": "10.0.0.1", "port": 40022, "username": "root"}
        return {
            **pod,
            "ssh": {"proxy": None, "direct": direct if up else None},
            "runtime": {"uptime": 1} if up else None,
        }

    def create(body: Row) -> httpx.Response:
        pod = {"id": f"pod{cloud.id()}", "name": body["name"], "status": "PROVISIONING", "cost": 0.34}
        cloud.machines[pod["id"]] = pod
        return say(shown(pod), 201)

    def get(id_: str) -> httpx.Response:
        pod = cloud.machines.get(id_)
        if pod is None:
            return problem(404, "pod not found")
        pod["status"] = "RUNNING" if pod["status"] in ("PROVISIONING", "RUNNING") else pod["status"]
        return say(shown(pod))

    def delete(id_: str) -> httpx.Response:
        return httpx.Response(204) if cloud.machines.pop(id_, None) else problem(404, "pod not found")

    def act(id_: str, body: Row) -> httpx.Response:
        cloud.machines[id_]["status"] = {"start": "RUNNING", "stop": "EXITED"}[body["action"]]
        return say(shown(cloud.machines[id_]))

    def new_volume(body: Row) -> httpx.Response:
        row = {"id": f"vol{cloud.id()}", "type": "STANDARD", **body}
        cloud.volumes[row["id"]] = row
        return say(row, 201)

    def volume(id_: str) -> httpx.Response:
        return say(cloud.volumes[id_]) if id_ in cloud.volumes else problem(404, "resource not found")

    types = [
        ("NVIDIA GeForce RTX 4090", 24, 0.74, 0.34, "EU-RO-1"),
        ("NVIDIA A100 80GB PCIe", 80, 1.79, 1.19, "US-KS-2"),
    ]
    gpus = [
        {
            "id": name,
            "name": name.removeprefix("NVIDIA "),
            "memory": memory,
            "secure": True,
            "community": True,
            "price": {"secure": secure, "community": community},
            "maxCount": {"secure": 8, "community": 2},
            "availability": "HIGH",
            "dataCenters": [{"id": place, "name": place, "availability": "HIGH"}],
        }
        for name, memory, secure, community, place in types
    ]
    cloud.on("GET /v2/catalog/gpus", lambda: say({"gpus": gpus}))
    cloud.on("GET /v2/account/ssh-keys", lambda: say({"keys": []}))
    cloud.on("POST /v2/pods", create)
    cloud.on("GET /v2/pods", lambda: say({"pods": [shown(pod) for pod in cloud.machines.values()]}))
    cloud.on("GET /v2/pods/([^/]+)", get)
    cloud.on("DELETE /v2/pods/([^/]+)", delete)
    cloud.on("POST /v2/pods/([^/]+)/action", act)
    cloud.on("GET /v2/network-volumes", lambda: say({"networkVolumes": [*cloud.volumes.values()]}))
    cloud.on("POST /v2/network-volumes", new_volume)
    cloud.on("GET /v2/network-volumes/([^/]+)", volume)
    cloud.on(
        "DELETE /v2/network-volumes/([^/]+)",
        lambda id_: httpx.Response(204) if cloud.volumes.pop(id_, None) else problem(404, "resource not found"),
    )
    return cloud


def vast() -> Cloud:
    cloud = Cloud()
    asks = [
        {"id": n, "machine_id": n, "gpu_name": "RTX 4090", "num_gpus": 1, "gpu_ram": 24564, "dph_total": 0.3 + n / 100}
        for n in (1, 2)
    ]

    def search(body: Row) -> httpx.Response:
        cheaper = 0.4 if body["type"] == "bid" else 1
        return say({"offers": [{**one, "dph_total": one["dph_total"] * cheaper} for one in asks]})

    def create(_: str, body: Row) -> httpx.Response:
        id_ = int(cloud.id())
        is_bid = body["price"] is not None
        row = {"id": id_, "label": body["label"], "actual_status": "loading", "is_bid": is_bid, "dph_total": 0.31}
        cloud.machines[str(id_)] = row
        if is_bid and body["price"] < 0.1:
            row |= {"actual_status": "stopped", "cur_state": "stopped"}
            return say({"success": False, "error": "bid_too_low", "new_contract": id_}, 400)
        return say({"success": True, "new_contract": id_})

    def get(id_: str) -> httpx.Response:
        row = cloud.machines.get(id_)
        if row is not None and row["actual_status"] == "loading":
            row |= {"actual_status": "running", "ssh_host": "ssh1.vast.ai", "ssh_port": 20022}
        return say({"instances": row})

    def delete(id_: str) -> httpx.Response:
        gone = {"success": False, "error": "no_such_instance"}
        return say({"success": True}) if cloud.machines.pop(id_, None) else say(gone, 404)

    def change(id_: str, body: Row) -> httpx.Response:
        cloud.machines[id_] |= {"actual_status": "loading", "cur_state": body["state"]}
        return say({"success": True})

    cloud.on("POST /api/v0/bundles/", search)
    cloud.on("GET /api/v0/users/current/", lambda: say({"email": "a@example.com", "credit": 5, "api_key": SECRET}))
    cloud.on("PUT /api/v0/asks/([^/]+)/", create)
    cloud.on("GET /api/v1/instances/", lambda: say({"instances": [*cloud.machines.values()], "next_token": None}))
    cloud.on("GET /api/v0/instances/([^/]+)/", get)
    cloud.on("DELETE /api/v0/instances/([^/]+)/", delete)
    cloud.on("PUT /api/v0/instances/([^/]+)/", change)
    return cloud


def lambda_cloud() -> Cloud:
    cloud = Cloud()
    kind = {
        "name": "gpu_1x_a10",
        "gpu_description": "A10 (24 GB PCIe)",
        "price_cents_per_hour": 75,
        "specs": {"gpus": 1},
    }

    def launch(body: Row) -> httpx.Response:
        row = {"id": f"i{cloud.id()}", "name": body["name"], "status": "booting", "instance_type": kind}
        cloud.machines[row["id"]] = row
        return say({"data": {"instance_ids": [row["id"]]}})

    def get(id_: str) -> httpx.Response:
        row = cloud.machines.get(id_)
        if row is None:
            return say({"error": {"code": "global/object-does-not-exist", "message": "no such instance"}}, 404)
        row |= {"status": "active", "ip": "10.0.0.3"}
        return say({"data": row})

    def terminate(body: Row) -> httpx.Response:
        ended = [cloud.machines.pop(id_) for id_ in body["instance_ids"] if id_ in cloud.machines]
        missing = {"error": {"code": "global/object-does-not-exist", "message": "no such instance"}}
        return say({"data": {"terminated_instances": ended}}) if ended else say(missing, 404)

    def add_key(body: Row) -> httpx.Response:
        cloud.keys.append(body)
        return say({"data": body})

    regions = [{"name": "us-east-1", "description": "Virginia"}]
    types = {"gpu_1x_a10": {"instance_type": kind, "regions_with_capacity_available": regions}}
    cloud.on("GET /api/v1/instance-types", lambda: say({"data": types}))
    cloud.on("GET /api/v1/ssh-keys", lambda: say({"data": cloud.keys}))
    cloud.on("POST /api/v1/ssh-keys", add_key)
    cloud.on("POST /api/v1/instance-operations/launch", launch)
    cloud.on("POST /api/v1/instance-operations/terminate", terminate)
    cloud.on("GET /api/v1/instances", lambda: say({"data": [*cloud.machines.values()]}))
    cloud.on("GET /api/v1/instances/([^/]+)", get)
    return cloud


CLOUDS = {"runpod": runpod, "vast": vast, "lambda": lambda_cloud}
