"""RunPod: what its answers mean, and what is asked of it."""

from __future__ import annotations

import asyncio
import json
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from lorry.compute.outcomes import Outcome, OutcomeError
from lorry.compute.providers._base import Address
from lorry.errors import InputError, RefusedError
from scripted import SECRET, Scripted, offer, order, problem, reply, wanted

NO_CAPACITY = (
    "There are no longer any instances available with the requested specifications. Please refresh and try again."
)


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNPOD_API_KEY", SECRET)
    monkeypatch.delenv("RUNPOD_API_URL", raising=False)


def pod(**changes: Any) -> dict[str, Any]:
    direct = {"host": "195.26.233.3", "port": 34446, "username": "root", "command": "ssh root@195.26.233.3 -p 34446"}
    port = {"private": 22, "public": 34446, "type": "tcp", "ip": "195.26.233.3"}
    return {
        "id": "7h9k2m4n6p",
        "name": "lorry-a1b2c3d4-tiny",
        "status": "RUNNING",
        "cost": 0.44,
        "mounts": {"persistent": {"size": 73, "path": "/workspace"}},
        "ssh": {"proxy": {"host": "ssh.runpod.io", "port": 22, "username": "7h9k"}, "direct": direct},
        "runtime": {"uptime": 3600, "ports": [port]},
        "createdAt": "2026-06-01T12:00:00Z",
        **changes,
    }


def gpu_type(id_: str = "NVIDIA GeForce RTX 4090", **changes: Any) -> dict[str, Any]:
    return {
        "id": id_,
        "name": id_.removeprefix("NVIDIA "),
        "memory": 24,
        "secure": True,
        "community": True,
        "price": {"secure": 0.74, "community": 0.34},
        "maxCount": {"secure": 8, "community": 4},
        "availability": "HIGH",
        "dataCenters": [{"id": "US-KS-2", "name": "Kansas", "availability": "LOW"}],
        **changes,
    }


def run(scripted: Scripted, method: str, *arguments: Any, **settings: Any) -> Any:
    return asyncio.run(getattr(scripted.provider("runpod", **settings), method)(*arguments))


def catalog(*types: dict[str, Any]) -> Scripted:
    return Scripted().on("GET /v2/catalog/gpus", reply(200, {"gpus": list(types)}))


def test_offers_are_one_for_each_type_and_cloud_the_cheapest_first():
    found = run(catalog(gpu_type()), "offers", wanted("RTX 4090"))
    assert [(one.name, one.usd_per_hour.likely, one.key) for one in found] == [
        ("runpod community, RTX 4090", 0.34, "NVIDIA GeForce RTX 4090"),
        ("runpod secure, RTX 4090", 0.74, "NVIDIA GeForce RTX 4090"),
    ]


def test_catalog_is_asked_for_what_is_free_now():
    scripted = catalog(gpu_type())
    run(scripted, "offers", wanted("RTX 4090", count=2), cloud="secure")
    assert dict(scripted.requests[0].url.params) == {
        "include": "AVAILABILITY",
        "product": "POD",
        "cloud": "SECURE",
        "count": "2",
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"availability": "NONE"},
        {"secure": False},
        {"price": {"secure": 0, "community": 0}},
        {"price": {"secure": None}},
        {"price": "free"},
        {"price": {"secure": 10**400}},
        {"price": {"secure": -1}},
        {"maxCount": {"secure": 0}},
        {"id": "NVIDIA GeForce RTX 4090 D", "name": "RTX 4090 D"},
        {"id": "AMD Instinct MI300X OAM", "name": "MI300X"},
        {"id": 7, "name": None},
    ],
)
def test_type_that_cannot_be_had_or_is_not_known_is_left_out(changes):
    assert run(catalog({**gpu_type(), **changes}), "offers", wanted(), cloud="secure") == []


def test_card_with_too_little_memory_or_of_another_kind_is_left_out():
    types = catalog(gpu_type(), gpu_type("NVIDIA A100 80GB PCIe", memory=80))
    assert [one.gpu.name for one in run(types, "offers", wanted(memory=30 * 2**30), cloud="secure")] == [
        "A100 80GB PCIe"
    ]
    assert [one.gpu.name for one in run(types, "offers", wanted("A100-80GB"), cloud="secure")] == ["A100 80GB PCIe"]


def test_price_is_of_the_whole_machine():
    found = run(catalog(gpu_type()), "offers", wanted("RTX 4090", count=4), cloud="community")
    assert (found[0].gpus, round(found[0].usd_per_hour.likely, 4)) == (4, 1.36)


def test_data_centres_that_were_chosen_are_offers_of_their_own():
    places = [{"id": "US-KS-2", "availability": "LOW"}, {"id": "EU-RO-1", "availability": "NONE"}]
    types = catalog(gpu_type(dataCenters=places))
    found = run(types, "offers", wanted(), cloud="secure", data_centers=["US-KS-2", "EU-RO-1"])
    assert [one.place for one in found] == ["US-KS-2"]


def test_volume_leaves_secure_machines_beside_it():
    volume = {"id": "v1", "name": "data", "size": 100, "dataCenter": "US-KS-2", "type": "STANDARD"}
    types = catalog(gpu_type(), gpu_type("NVIDIA L4", dataCenters=[{"id": "EU-RO-1", "availability": "HIGH"}]))
    types.on("GET /v2/network-volumes/v1", reply(200, volume))
    found = run(types, "offers", wanted(volume="v1"))
    assert [(one.tier, one.gpu.name, one.place) for one in found] == [("secure", "RTX 4090", "US-KS-2")]
    assert list(run(types, "places", wanted("L4"))) == ["EU-RO-1"]


def test_machines_without_a_gpu_are_offered_where_they_are_asked_for():
    row = {
        "id": "cpu5c",
        "name": "Compute-Optimized",
        "vcpu": {"min": 2, "max": 32},
        "ramGbPerVcpu": 2,
        "price": {"securePerVcpu": 0.04},
        "availability": "HIGH",
        "dataCenters": [],
    }
    scripted = Scripted().on("GET /v2/catalog/cpus", reply(200, {"cpus": [row]}))
    (found,) = run(scripted, "offers", wanted(cpu=True, memory=15 * 10**9))
    assert (found.gpu, found.key, found.memory, round(found.usd_per_hour.likely, 2)) == (
        None,
        "cpu5c/8",
        16 * 10**9,
        0.32,
    )


def test_interruptible_machines_are_not_to_be_had():
    assert run(Scripted(), "offers", wanted("RTX 4090", interruptible="only")) == []


def created(what=None, settings: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """What is sent for an order."""
    scripted = Scripted().on("POST /v2/pods", reply(201, pod(status="PROVISIONING", ssh=None, runtime={})))
    what = what or offer("runpod")
    made = run(scripted, "create", order(what, **changes), **(settings or {}))
    assert (made.id, made.state, made.address) == ("7h9k2m4n6p", "starting", None)
    return scripted.body("POST /v2/pods")


def test_create_asks_for_what_the_documentation_tells():
    body = created(offer("runpod", place="US-KS-2"), start="arm &", environment={"A": "b"}, disk_gb=60)
    args = body.pop("args")
    assert body == {
        "name": "lorry-a1b2c3d4-tiny",
        "image": "img:1",
        "gpu": {"id": "NVIDIA GeForce RTX 4090", "count": 1},
        "cloud": "SECURE",
        "dataCenterIds": ["US-KS-2"],
        "disk": 20,
        "mounts": {"persistent": {"size": 60, "path": "/workspace"}},
        "ports": ["22/tcp"],
        "env": {"LORRY_PLACE": "/workspace/lorry", "A": "b", "PUBLIC_KEY": "ssh-ed25519 AAAA lorry"},
    }
    assert shlex.split(args)[:2] == ["bash", "-c"]


def test_create_with_a_volume_mounts_it():
    body = created(volume="v1", mount="/data")
    assert body["mounts"] == {"network": [{"volumeId": "v1", "path": "/data"}]}


def test_create_without_a_gpu_asks_for_processors():
    body = created(offer("runpod", gpu=None, key="cpu5c/4"), disk_gb=60)
    assert body["cpu"] == {"id": "cpu5c", "vcpuCount": 4}
    assert not {"gpu", "mounts"} & body.keys()
    assert body["disk"] == 60


@pytest.mark.parametrize(
    "start", ["touch armed", "touch armed &", "touch 'armed' # it's \"$HOME\"", "exit 3\n", "touch armed; exit 1"]
)
def test_start_command_runs_and_the_image_starts_all_the_same(start, tmp_path):
    assert machine_started(created(start=start)["args"], tmp_path, str(tmp_path / "start.sh"))
    assert (tmp_path / "armed").exists() == ("armed" in start)


def test_image_whose_start_script_is_on_the_search_path_is_started(tmp_path):
    assert machine_started(created(start="touch armed")["args"], tmp_path, "start.sh")


def machine_started(args: str, folder: Path, script: str) -> bool:
    """Whether the image's own script came to its end; the command does nothing else here, whatever happens."""
    image = folder / "start.sh"
    image.write_text("#!/bin/sh\n/bin/sleep 0.2\n/bin/touch started\n")
    image.chmod(0o755)
    for tool in ("touch", "bash"):
        (folder / tool).symlink_to(str(shutil.which(tool)))
    words = [word.replace("/start.sh", script) for word in shlex.split(args)]
    done = subprocess.run(words, cwd=folder, env={"PATH": str(folder)}, timeout=20, check=False)
    return done.returncode == 0 and (folder / "started").exists()


def test_templates_are_found_by_name_and_keep_their_command():
    scripted = Scripted().on("POST /v2/pods", reply(201, pod()))
    scripted.on("GET /v2/templates", reply(200, {"templates": [{"id": "t1", "name": "Mine", "args": "serve --all"}]}))
    run(scripted, "create", order(offer("runpod"), template="Mine", start="arm"))
    body = scripted.body("POST /v2/pods")
    assert body["templateId"] == "t1"
    assert "image" not in body
    assert shlex.split(body["args"])[2].endswith("exec serve --all")


def test_unknown_template_is_told_with_those_there_are():
    scripted = Scripted().on("GET /v2/templates", reply(200, {"templates": [{"id": "t1", "name": "Mine"}]}))
    scripted.on("GET /v2/catalog/templates", reply(200, {"templates": [{"id": "t2", "name": "PyTorch 2.8"}]}))
    with pytest.raises(OutcomeError) as caught:
        run(scripted, "create", order(offer("runpod"), template="Yours"))
    assert caught.value.outcome is Outcome.REQUEST_WRONG
    assert "Mine, PyTorch 2.8" in caught.value.hint


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (problem(400, NO_CAPACITY), Outcome.NO_CAPACITY),
        (problem(400, "There are no instances currently available."), Outcome.NO_CAPACITY),
        (problem(400, "There are no longer any instances available with enough disk space."), Outcome.NO_CAPACITY),
        (problem(400, "This machine does not have the resources to deploy your pod."), Outcome.NO_CAPACITY),
        (problem(400, "could not find any pods with required specifications"), Outcome.NO_CAPACITY),
        (problem(400, "There are not enough free GPUs on the host machine to start this pod."), Outcome.NO_CAPACITY),
        (problem(400, "gpu and cpu are mutually exclusive"), Outcome.REQUEST_WRONG),
        (problem(402, "insufficient balance"), Outcome.BALANCE_EMPTY),
        (problem(403, "access denied"), Outcome.NOT_ALLOWED),
        (problem(404, "resource not found"), Outcome.REQUEST_WRONG),
        (problem(422, "Request validation failed."), Outcome.REQUEST_WRONG),
        (problem(401, "missing bearer token"), Outcome.KEY_REFUSED),
        (httpx.Response(201, content=b"{"), Outcome.UNCERTAIN),
        (reply(201, {"name": "no id"}), Outcome.UNCERTAIN),
        (reply(200, []), Outcome.UNCERTAIN),
    ],
)
def test_every_answer_to_a_create_has_its_outcome(answer, outcome):
    with pytest.raises(OutcomeError) as caught:
        run(Scripted().on("POST /v2/pods", answer), "create", order(offer("runpod")))
    assert caught.value.outcome is outcome


def found(**changes: Any) -> Any:
    return run(Scripted().on("GET /v2/pods/x", reply(200, pod(**changes))), "find", "x")


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("PROVISIONING", "starting"),
        ("STARTING", "starting"),
        ("RUNNING", "running"),
        ("EXITED", "stopped"),
        ("ERROR", "broken"),
        ("TERMINATED", "ended"),
        ("A_NEW_ONE", "running"),
        (None, "running"),
    ],
)
def test_every_status_has_its_state(status, state):
    machine = found(status=status)
    assert machine.state == state
    assert (machine.address is not None) == (state == "running")


def test_running_pod_tells_where_ssh_is():
    machine = found()
    assert machine.address == Address("195.26.233.3", 34446, "root")
    assert (machine.usd_per_hour, machine.created_at) == (0.44, 1780315200.0)


def test_stopped_pod_bills_its_disk_at_twice_the_price():
    assert found(status="EXITED", cost=0.0).usd_per_hour == pytest.approx(0.02)


UDP = {"private": 22, "public": 40000, "type": "udp", "ip": "1.2.3.4"}
TCP = {"private": 22, "public": 40001, "type": "tcp", "ip": "1.2.3.4"}


@pytest.mark.parametrize(
    ("changes", "port"),
    [
        ({"runtime": None}, None),
        ({"runtime": {}}, None),
        ({"ssh": None, "runtime": {"ports": []}}, None),
        ({"ssh": {"direct": {"host": "1.2.3.4", "port": 40000}}, "runtime": {"ports": [UDP]}}, None),
        ({"ssh": {"direct": {"host": "1.2.3.4", "port": 40000}}, "runtime": {"ports": [UDP, TCP]}}, 40001),
        ({"ssh": {"direct": {"host": "1.2.3.4", "port": 99999}}, "runtime": {"ports": [{}]}}, None),
        ({"ssh": {"direct": {"host": "1.2.3.4", "port": "x"}}, "runtime": {"uptime": 1}}, None),
        ({"ssh": {"direct": {"host": 5, "port": 22}}, "runtime": [1]}, None),
    ],
)
def test_only_a_tcp_port_that_is_open_now_is_an_address(changes, port):
    address = found(**changes).address
    assert (address.port if address else None) == port


def test_unknown_pod_is_gone_and_ending_it_is_silent():
    scripted = Scripted().on("GET /v2/pods/x", problem(404, "pod not found"))
    scripted.on("DELETE /v2/pods/x", problem(404, "pod not found"))
    assert run(scripted, "find", "x") is None
    assert run(scripted, "end", "x") is None


def test_delete_is_tried_again_until_it_is_taken():
    scripted = Scripted().on("DELETE /v2/pods/x", problem(500, "broken"), httpx.ReadTimeout(""), httpx.Response(204))
    run(scripted, "end", "x")
    assert len(scripted.requests) == 3


def test_delete_that_is_refused_is_an_error():
    with pytest.raises(OutcomeError, match="cluster pod"):
        run(Scripted().on("DELETE /v2/pods/x", problem(409, "cluster pod")), "end", "x")


def test_list_has_all_that_may_bill_and_passes_over_what_is_none():
    pods = [pod(), pod(id="b", status="EXITED"), pod(id="c", status="TERMINATED"), {"name": "no id"}, 7, None]
    machines = run(Scripted().on("GET /v2/pods", reply(200, {"pods": pods})), "list")
    assert [one.id for one in machines] == ["7h9k2m4n6p", "b"]


@pytest.mark.parametrize("data", [{}, {"pods": None}, {"pods": {"a": 1}}, {"error": "x"}])
def test_list_that_is_none_is_not_an_empty_one(data):
    with pytest.raises(OutcomeError) as caught:
        run(Scripted().on("GET /v2/pods", reply(200, data)), "list")
    assert caught.value.outcome is Outcome.API_DOWN


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (problem(400, "There are not enough free GPUs on the host machine to start this pod."), Outcome.NO_CAPACITY),
        (problem(404, "pod not found"), Outcome.VANISHED),
        (problem(422, "bad"), Outcome.REQUEST_WRONG),
    ],
)
def test_start_that_does_not_help_says_why(answer, outcome):
    with pytest.raises(OutcomeError) as caught:
        run(Scripted().on("POST /v2/pods/x/action", answer), "start", "x")
    assert caught.value.outcome is outcome


def test_start_of_a_pod_that_runs_is_silent():
    scripted = Scripted().on("POST /v2/pods/x/action", problem(409, "action not valid"))
    run(scripted, "start", "x")
    assert scripted.body("POST /v2/pods/x/action") == {"action": "start"}


def log(*numbers: int) -> httpx.Response:
    lines = [
        f"id: t/{n:012}\ndata: {json.dumps({'ts': 't', 'source': 'container', 'line': f'line {n}'})}\n\n"
        for n in numbers
    ]
    return httpx.Response(200, headers={"content-type": "text/event-stream"}, content="".join(lines).encode())


async def lines(scripted: Scripted, after: str = "") -> list[tuple[str, str]]:
    return [one async for one in scripted.provider("runpod").logs("x", after)]


def test_logs_go_on_after_a_cut_and_end_with_the_pod():
    scripted = Scripted().on(
        "GET /v2/pods/x/logs", log(1, 2), httpx.ReadError("cut"), log(3), problem(404, "pod not found")
    )
    read = asyncio.run(lines(scripted))
    assert [text for text, _ in read] == ["line 1", "line 2", "line 3"]
    assert [one.headers.get("last-event-id") for one in scripted.requests] == [
        None,
        "t/000000000002",
        "t/000000000002",
        "t/000000000003",
    ]


def test_logs_go_on_from_a_mark():
    scripted = Scripted().on("GET /v2/pods/x/logs", log(8), problem(404, "pod not found"))
    assert asyncio.run(lines(scripted, "t/000000000007")) == [("line 8", "t/000000000008")]
    assert scripted.requests[0].headers["last-event-id"] == "t/000000000007"


def test_logs_that_bring_nothing_again_and_again_are_given_up():
    scripted = Scripted().on("GET /v2/pods/x/logs", log())
    with pytest.raises(OutcomeError) as caught:
        asyncio.run(lines(scripted))
    assert caught.value.outcome is Outcome.API_DOWN
    assert len(scripted.requests) < 10


@pytest.mark.parametrize("data", ["{", "[[[[", "7", '{"line": 5}', '{"line": "' + "x" * 100_000 + '"}'])
def test_log_line_of_any_kind_is_a_short_line(data):
    answer = httpx.Response(
        200, headers={"content-type": "text/event-stream"}, content=f"id: 1\ndata: {data}\n\n".encode()
    )
    scripted = Scripted().on("GET /v2/pods/x/logs", answer, problem(404, "gone"))
    ((text, mark),) = asyncio.run(lines(scripted))
    assert (len(text) <= 4000, mark) == (True, "1")


def test_account_is_told_as_far_as_runpod_tells_it():
    scripted = Scripted().on("GET /v2/account/ssh-keys", reply(200, {"keys": ["ssh-ed25519 A a", "ssh-ed25519 B b"]}))
    assert "2 SSH keys" in run(scripted, "account")


def test_volumes_have_a_place_and_a_price():
    rows = [
        {"id": "v1", "name": "a", "size": 100, "dataCenter": "US-KS-2", "type": "STANDARD"},
        {"id": "v2", "name": "b", "size": 2000, "dataCenter": "EU-RO-1", "type": "STANDARD"},
        {"id": "v3", "name": "c", "size": 50, "dataCenter": "EU-RO-1", "type": "HIGH_PERFORMANCE"},
    ]
    found = run(Scripted().on("GET /v2/network-volumes", reply(200, {"networkVolumes": rows})), "volumes")
    assert [(one.id, one.place) for one in found] == [("v1", "US-KS-2"), ("v2", "EU-RO-1"), ("v3", "EU-RO-1")]
    assert [one.usd_per_month for one in found] == [pytest.approx(7), pytest.approx(120), None]


@pytest.mark.parametrize("data", [{}, {"networkVolumes": None}, {"networkVolumes": {"a": 1}}, {"error": "x"}])
def test_volumes_that_are_no_list_are_not_an_empty_one(data):
    with pytest.raises(OutcomeError) as caught:
        run(Scripted().on("GET /v2/network-volumes", reply(200, data)), "volumes")
    assert caught.value.outcome is Outcome.API_DOWN


def test_volume_is_made_where_it_was_asked_for():
    scripted = Scripted().on(
        "POST /v2/network-volumes", reply(201, {"id": "v1", "name": "a", "size": 10, "dataCenter": "EU-RO-1"})
    )
    assert run(scripted, "create_volume", "a", 10, "EU-RO-1").id == "v1"
    assert scripted.body("POST /v2/network-volumes") == {"name": "a", "size": 10, "dataCenter": "EU-RO-1"}


def test_data_centre_without_volumes_is_told_with_those_that_have_them():
    scripted = Scripted().on("POST /v2/network-volumes", problem(400, "data center does not support network volumes"))
    centres = [{"id": "EU-RO-1", "networkVolumeTypes": ["STANDARD"]}, {"id": "US-TX-1", "networkVolumeTypes": []}]
    scripted.on("GET /v2/catalog/datacenters", reply(200, {"dataCenters": centres}))
    with pytest.raises(InputError) as caught:
        run(scripted, "create_volume", "a", 10, "US-TX-1")
    assert "EU-RO-1" in caught.value.hint
    assert "US-TX-1" not in caught.value.hint


def test_volume_in_use_is_not_deleted_and_one_that_is_gone_is_no_error():
    scripted = Scripted().on(
        "DELETE /v2/network-volumes/v1", problem(400, "volume is in use"), problem(404, "not found")
    )
    with pytest.raises(RefusedError, match="in use"):
        run(scripted, "delete_volume", "v1")
    assert run(scripted, "delete_volume", "v1") is None
