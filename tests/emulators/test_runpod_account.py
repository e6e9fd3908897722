"""What the emulated RunPod tells beside its pods: catalog, volumes, templates, bills, logs; and whom it lets in."""

from __future__ import annotations

import json
import time

import httpx
import pytest

from emulated import GPU, Client, order
from lorry.emulators.runpod import shapes

STOCK = {"include": "AVAILABILITY", "product": "POD"}


@pytest.mark.parametrize(
    ("path", "shape", "query"),
    [
        ("/catalog/gpus", "ListGpuTypesResponse", {}),
        ("/catalog/gpus", "ListGpuTypesResponse", {**STOCK, "cloud": "COMMUNITY", "count": "2"}),
        (f"/catalog/gpus/{GPU}", "GpuType", STOCK),
        ("/catalog/cpus", "ListCpuTypesResponse", STOCK),
        ("/catalog/cpus/cpu5c", "CpuType", {}),
        ("/catalog/datacenters", "ListDataCentersResponse", {"include": "GPU_AVAILABILITY,CPU_AVAILABILITY"}),
        ("/catalog/datacenters/US-KS-2", "DataCenter", {}),
        ("/pods", "ListPodsResponse", {}),
        ("/network-volumes", "ListNetworkVolumesResponse", {}),
        ("/templates", "ListTemplatesResponse", {}),
        ("/billing/pods", "ListPodBillingResponse", {}),
        ("/account/ssh-keys", "SshKeys", {}),
    ],
)
def test_answer_has_the_documented_shape_and_quota_headers(client, path, shape, query):
    answer = client.get(path, params=query)
    assert answer.status_code == 200
    shapes.validator(shape).validate(answer.json())
    assert answer.headers["RateLimit-Policy"].startswith('"minute";q=')
    assert answer.headers["RateLimit"].startswith('"minute";r=')


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"include": "AVAILABILITY"}, 400),
        ({"product": "POD"}, 400),
        ({"include": "EVERYTHING", "product": "POD"}, 422),
        ({**STOCK, "cloud": "ALL"}, 422),
        ({**STOCK, "count": "none"}, 422),
        ({**STOCK, "countryCodes": "ro"}, 422),
        ({**STOCK, "cudaVersions": "12.8", "minCudaVersion": "12"}, 400),
    ],
)
def test_catalog_refuses_parameters_that_do_not_go_together(client, query, status):
    assert client.get("/catalog/gpus", params=query).status_code == status


def test_catalog_is_narrowed_to_countries_and_shows_what_is_rented_out(client, runpod):
    told = client.get("/catalog/gpus", params={**STOCK, "countryCodes": "SE"}).json()["gpus"]
    assert {place["id"] for one in told for place in one["dataCenters"]} == {"EU-SE-1"}
    runpod.control.settings(capacity={GPU: 1})
    client.create()
    assert client.get(f"/catalog/gpus/{GPU}", params=STOCK).json()["availability"] == "NONE"
    full = client.post("/pods", json=order())
    runpod.control.settings(capacity={})
    assert (full.status_code, "no longer any instances" in full.text) == (400, True)


def test_nobody_gets_in_without_the_key(runpod):
    with Client(runpod, "wrong") as wrong:
        assert wrong.get("/pods").status_code == 401
    answer = httpx.get(f"{runpod.url}/v2/pods", trust_env=False)
    assert answer.json() == {"title": "Unauthorized", "status": 401, "detail": "missing bearer token"}
    assert answer.headers["content-type"] == "application/problem+json"


def test_python_urllib_is_turned_away_at_the_door(client):
    answer = client.get("/pods", headers={"User-Agent": "Python-urllib/3.11"})
    assert (answer.status_code, answer.text) == (403, "error code: 1010")


def test_older_apis_tell_the_balance_and_that_spot_is_no_more(client, runpod):
    balance = {"query": "query { myself { clientBalance currentSpendPerHr } }"}
    told = client.post(f"{runpod.url}/graphql", json=balance).json()
    assert told["data"]["myself"]["clientBalance"] == pytest.approx(1000, abs=1)
    spot = client.post(f"{runpod.url}/graphql", json={"query": "mutation { podRentInterruptable(input: {}) { id } }"})
    assert (spot.status_code, "no longer offered" in spot.text) == (200, True)
    assert client.post(f"{runpod.url}/v1/pods", json={"interruptible": True}).status_code == 500
    assert client.post(f"{runpod.url}/graphql", json=[]).status_code == 400


def test_method_that_a_path_lacks_is_named(client):
    pod = client.create()
    answer = client.patch(f"/pods/{pod['id']}", json={"name": "x"})
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, DELETE")
    assert client.get("/networkvolumes").status_code == 404


def test_quota_that_is_used_up_says_how_long_to_wait(client, runpod):
    runpod.control.settings(requests_per_minute=1)
    answers = [client.get("/pods") for _ in range(3)]
    runpod.control.settings(requests_per_minute=3000)
    refused = answers[-1]
    assert refused.status_code == 429
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert refused.json()["detail"] == "rate limit exceeded for the minute window"


def test_network_volume_is_made_grown_mounted_and_deleted(client):
    body = {"name": "models", "size": 50, "dataCenter": "EU-RO-1"}
    volume = client.post("/network-volumes", json=body).json()
    shapes.validator("NetworkVolume").validate(volume)
    path = f"/network-volumes/{volume['id']}"
    assert client.patch(path, json={"size": 60}).json()["size"] == 60
    assert client.patch(path, json={"size": 20}).status_code == 400
    mounts = {"network": [{"volumeId": volume["id"], "path": "/workspace"}]}
    elsewhere = client.post("/pods", json=order(mounts=mounts, dataCenterIds=["US-KS-2"]))
    assert "no longer any instances" in elsewhere.text
    pod = client.create(mounts=mounts)
    assert pod["dataCenterId"] == "EU-RO-1"
    assert client.delete(path).status_code == 400
    client.delete(f"/pods/{pod['id']}")
    assert client.get(path).status_code == 200, "a pod's end leaves the volume"
    assert (client.delete(path).status_code, client.get(path).status_code) == (204, 404)


def test_volume_where_there_are_none_names_the_places_that_have_them(client):
    answer = client.post("/network-volumes", json={"name": "v", "size": 50, "dataCenter": "EU-SE-1"})
    assert answer.status_code == 400
    assert "US-KS-2" in answer.json()["detail"]


def test_template_gives_what_the_order_does_not(client):
    body = {"name": "mine", "image": "own/image", "disk": 33, "env": {"A": "1", "B": "1"}, "ports": ["22/tcp"]}
    template = client.post("/templates", json=body).json()
    shapes.validator("Template").validate(template)
    wanted = order(image=None, disk=None, env={"B": "2"}, templateId=template["id"])
    pod = client.post("/pods", json=wanted).json()
    assert (pod["image"], pod["disk"], pod["env"], pod["template"]) == ("own/image", 33, {"A": "1", "B": "2"}, None)
    assert client.post("/templates", json=body).status_code == 400
    path = f"/templates/{template['id']}"
    assert client.patch(path, json={"disk": 40}).json()["disk"] == 40
    assert (client.delete(path).status_code, client.get(path).status_code) == (204, 404)


def test_pods_are_billed_by_the_second_and_stopped_ones_for_their_volume(client, runpod):
    pod = client.create("billed", mounts={"persistent": {"size": 1000, "path": "/workspace"}})
    client.until(pod, "RUNNING")
    time.sleep(1)
    client.post(f"/pods/{pod['id']}/action", json={"action": "stop"})
    machine = runpod.control.machine(pod["id"])
    assert machine.usd_per_hour == pytest.approx(1000 * 0.20 / 730)
    assert machine.seconds > 1
    record = client.get("/billing/pods", params={"podId": pod["id"], "lastN": 1}).json()["records"][0]
    assert record["gpuAmount"] == pytest.approx(machine.seconds * 0.74 / 3600)
    assert record["totalAmount"] == pytest.approx(machine.usd, rel=0.05)
    client.delete(f"/pods/{pod['id']}")
    ended = runpod.control.machine(pod["id"])
    time.sleep(0.3)
    assert (ended.usd_per_hour, runpod.control.machine(pod["id"]).usd) == (0, ended.usd)


def test_pod_whose_first_hour_is_not_paid_is_refused(client, runpod):
    runpod.control.settings(balance=0.5)
    answer = client.post("/pods", json=order())
    runpod.control.settings(balance=1000)
    assert answer.status_code == 402
    assert runpod.control.balance == pytest.approx(1000, abs=0.01)


def events(client: Client, pod: dict, count: int, **request) -> list[tuple[str, dict]]:
    """The first so many lines of a pod's log, each with its mark."""
    found, mark = [], ""
    with client.stream("GET", f"/pods/{pod['id']}/logs", **request) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if line.startswith("id: "):
                mark = line[4:]
            elif line.startswith("data: "):
                found.append((mark, json.loads(line[6:])))
                if len(found) == count:
                    break
    return found


def test_log_goes_on_after_the_mark_of_the_last_line(client):
    args = "bash -c 'for i in 1 2 3 4 5; do echo line $i; sleep 0.1; done; sleep 60'"
    pod = client.until(client.create(args=args), "RUNNING")
    only = {"params": {"source": "container"}}
    first = events(client, pod, 2, **only)
    assert [line["line"] for _, line in first] == ["line 1", "line 2"]
    rest = events(client, pod, 3, headers={"Last-Event-ID": first[-1][0]}, **only)
    assert [line["line"] for _, line in rest] == ["line 3", "line 4", "line 5"]
    number = first[0][0].split("/")[1]
    assert (len(number), number) == (12, "000000000001")
    tail = events(client, pod, 1, params={"source": "container", "tail": "1"})
    assert tail[0][1]["line"] == "line 5"
    assert client.get(f"/pods/{pod['id']}/logs", params={"tail": "9999"}).status_code == 422


def test_endless_log_keeps_the_disk_small_and_the_newest_lines(client, runpod):
    args = f"bash -c 'yes {'0123456789' * 4} | head -n 400000; echo end; sleep 60'"
    pod = client.until(client.create(args=args), "RUNNING")
    folder = runpod.home / "machines" / pod["id"] / "log"
    deadline = time.monotonic() + 60
    newest = folder / "container.jsonl"
    while not (newest.exists() and '"end"' in newest.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.3)
    assert sum(file.stat().st_size for file in folder.iterdir()) < 10 * 2**20
