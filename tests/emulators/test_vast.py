"""The emulated Vast.ai: a market in which one rents, bids, is outbid, and destroys."""

from __future__ import annotations

import time
from collections.abc import Iterator

import httpx
import pytest

from emulated import ssh, ssh_when_ready
from lorry.emulators import launch
from lorry.emulators.launch import Emulator
from lorry.emulators.machine import processes


class Client(httpx.Client):
    def __init__(self, emulator: Emulator, key: str | None = None) -> None:
        headers = {"Authorization": f"Bearer {key or emulator.key}"}
        super().__init__(base_url=f"{emulator.url}/api", headers=headers, timeout=30, trust_env=False)

    def search(self, **filters) -> list[dict]:
        answer = self.post("/v0/bundles/", json=filters)
        assert answer.status_code == 200, answer.text
        return answer.json()["offers"]

    def rent(self, offer: dict, **changes) -> dict:
        body = {"client_id": "me", "image": "pytorch", "disk": 20, "label": "trainer", "price": None, **changes}
        answer = self.put(f"/v0/asks/{offer['id']}/", json={"runtype": "ssh_direc ssh_proxy", **body})
        return {"status": answer.status_code, **answer.json()}

    def instance(self, number: int) -> dict | None:
        return self.get(f"/v0/instances/{number}/").json()["instances"]

    def until(self, number: int, status: str) -> dict:
        deadline = time.monotonic() + 15
        while (found := self.instance(number)) is None or found["actual_status"] != status:
            assert time.monotonic() < deadline, found
            time.sleep(0.05)
        direct = {"host": found["public_ipaddr"], "port": found["ssh_port"], "username": found["ssh_user"]}
        return {**found, "ssh": {"direct": direct}}


@pytest.fixture(scope="module")
def vast(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with launch.running("vast", tmp_path_factory.mktemp("market") / "vast") as emulator:
        emulator.control.settings(boot_seconds=0.2, ssh_seconds=0)
        yield emulator
    assert processes.residents(emulator.home / "machines") == {}


@pytest.fixture
def client(vast: Emulator) -> Iterator[Client]:
    with Client(vast) as client:
        yield client
        vast.control.disarm()
        vast.control.settings(interruption_rate={})
        for one in client.get("/v0/instances/").json()["instances"]:
            client.delete(f"/v0/instances/{one['id']}/")


def test_search_takes_filters_order_and_limit(client):
    wanted = {"gpu_name": {"in": ["RTX 4090", "L4"]}, "geolocation": {"in": ["DE"]}, "reliability2": {"gte": 0.98}}
    found = client.search(**wanted, order=[["dph_total", "desc"]], limit=5, allocated_storage=100, type="on-demand")
    assert len(found) == 5
    prices = [offer["dph_total"] for offer in found]
    assert prices == sorted(prices, reverse=True)
    assert all(offer["geolocation"].endswith("DE") and offer["dph_total"] > offer["dph_base"] for offer in found)
    by_bid = client.search(gpu_name={"eq": "RTX 4090"}, type="bid")[0]
    assert by_bid["dph_base"] == by_bid["min_bid"] < 0.39


@pytest.mark.parametrize(
    "filters", [{"num_gpus": {"like": 1}}, {"num_gpus": {"gt": "x"}}, {"order": [["nothing", "asc"]]}, []]
)
def test_search_refuses_filters_that_nobody_understands(client, filters):
    answer = client.post("/v0/bundles/", json=filters)
    assert (answer.status_code, answer.json()["success"]) == (400, False)


def test_daily_quota_of_searches_is_told_without_a_time_to_wait(client, vast):
    vast.control.arm("status", status=429, on="catalog")
    answer = client.post("/v0/bundles/", json={})
    assert (answer.json()["error"], "retry-after" in answer.headers) == ("search_quota_exceeded", False)


def test_rented_machine_runs_the_script_answers_ssh_and_is_no_more_on_offer(client, vast, keys):
    offer = client.search(gpu_name={"eq": "RTX 4090"})[0]
    script = f"mkdir -p ~/.ssh; echo '{keys[1]}' >> ~/.ssh/authorized_keys; echo ran > ~/mark"
    made = client.rent(offer, onstart=script, env={"-p 22:22": "1", "FLAG": "1"})
    assert (made["success"], client.rent(offer)["error"]) == (True, "no_such_ask")
    assert offer["id"] not in {one["id"] for one in client.search()}
    instance = client.until(made["new_contract"], "running")
    assert instance["ports"]["22/tcp"][0]["HostPort"] == str(instance["ssh_port"])
    assert ssh_when_ready(instance, keys[0], "cat mark; echo $FLAG") == "ran\n\n"
    assert client.delete(f"/v0/instances/{instance['id']}/").json()["success"]
    assert client.instance(instance["id"]) is None
    assert client.delete(f"/v0/instances/{instance['id']}/").json()["error"] == "no_such_instance"
    vast.control.wait(lambda machines: all(one.is_over for one in machines))


def test_bid_that_is_too_low_is_an_error_and_leaves_a_stopped_instance(client, vast):
    offer = client.search(gpu_name={"eq": "L40S"}, type="bid")[0]
    made = client.rent(offer, price=offer["min_bid"] / 2)
    assert (made["status"], made["success"]) == (400, False)
    left = client.instance(made["new_contract"])
    assert (left["cur_state"], left["is_bid"], left["status_msg"]) == ("stopped", True, "outbid")
    assert vast.control.machine(str(made["new_contract"])).usd_per_hour == pytest.approx(20 * 0.15 / 730)


def test_outbid_instance_stands_still_keeps_its_disk_and_resumes_when_its_bid_wins(client, vast, keys):
    offer = client.search(gpu_name={"eq": "RTX 3090"}, type="bid")[0]
    number = client.rent(offer, price=offer["min_bid"] * 1.5, onstart=f"echo '{keys[1]}' > ~/.ssh/authorized_keys")[
        "new_contract"
    ]
    instance = client.until(number, "running")
    ssh_when_ready(instance, keys[0], "echo 1 > kept")
    vast.control.settings(interruption_rate={str(offer["id"]): offer["min_bid"] * 2})
    stopped = client.until(number, "stopped")
    assert {stopped[name] for name in ("actual_status", "cur_state", "next_state", "intended_status")} == {"stopped"}
    assert vast.control.machine(str(number)).usd_per_hour == pytest.approx(20 * 0.15 / 730)
    assert client.put(f"/v0/instances/{number}/", json={"state": "running"}).json()["success"]
    time.sleep(0.5)
    assert client.instance(number)["actual_status"] == "stopped", "its bid does not win"
    client.put(f"/v0/instances/bid_price/{number}/", json={"client_id": "me", "price": offer["min_bid"] * 2.5})
    assert ssh_when_ready(client.until(number, "running"), keys[0], "ls") == "kept\nonstart.sh\n"


def test_interruption_is_somebody_elses_higher_bid(client, vast):
    offer = client.search(gpu_name={"eq": "RTX 5090"}, type="bid")[0]
    vast.control.arm("interrupt", machine="preempted", after=0.2)
    number = client.rent(offer, label="preempted", price=offer["min_bid"] * 1.2)["new_contract"]
    client.until(number, "running")
    assert client.until(number, "stopped")["min_bid"] > offer["min_bid"] * 1.2


def test_stop_and_start_on_demand_keep_the_disk(client, keys):
    offer = client.search(gpu_name={"eq": "L4"})[0]
    number = client.rent(offer, onstart=f"echo '{keys[1]}' > ~/.ssh/authorized_keys")["new_contract"]
    ssh_when_ready(client.until(number, "running"), keys[0], "echo 1 > kept")
    client.put(f"/v0/instances/{number}/", json={"state": "stopped"})
    assert client.until(number, "exited")["intended_status"] == "stopped"
    client.put(f"/v0/instances/{number}/", json={"state": "running"})
    assert "kept" in ssh_when_ready(client.until(number, "running"), keys[0], "ls")


def test_list_comes_in_pages(client):
    offers = client.search(limit=3)
    made = {client.rent(offer)["new_contract"] for offer in offers}
    first = client.get("/v1/instances/", params={"limit": 2}).json()
    second = client.get("/v1/instances/", params={"limit": 2, "after_token": first["next_token"]}).json()
    assert {one["id"] for one in [*first["instances"], *second["instances"]]} == made
    assert (len(first["instances"]), second["next_token"]) == (2, None)
    assert client.get("/v1/instances/", params={"limit": 26}).status_code == 400


def test_key_of_an_instance_destroys_that_instance_and_does_nothing_else(client, vast, keys):
    offers = client.search(limit=2)
    made, other = (client.rent(one, onstart=f"echo '{keys[1]}' > ~/.ssh/authorized_keys") for one in offers)
    instance = client.until(made["new_contract"], "running")
    ssh_when_ready(instance, keys[0])
    given = ssh(
        instance, keys[0], "tr '\\0' '\\n' < /proc/$(cat ../../run/init.pid)/environ | grep ^CONTAINER_API_KEY="
    ).stdout
    assert given.strip() == f"CONTAINER_API_KEY={made['instance_api_key']}"
    with Client(vast, made["instance_api_key"]) as own:
        assert own.delete(f"/v0/instances/{other['new_contract']}/").status_code == 403
        assert own.get("/v1/instances/").status_code == 403
        assert own.delete(f"/v0/instances/{made['new_contract']}/").json()["success"]
    with Client(vast, "wrong") as wrong:
        assert wrong.get("/v1/instances/").status_code == 401


@pytest.mark.parametrize(
    "change", [{"image": None}, {"disk": 0}, {"price": -1}, {"price": "much"}, {"env": "A=1"}, {"gpus": 4}]
)
def test_wrong_request_is_refused_and_makes_nothing(client, change):
    made = client.rent(client.search(limit=1)[0], **change)
    assert (made["status"], made["error"]) == (400, "invalid_args")
    assert client.get("/v0/instances/").json()["instances"] == []


def test_account_without_credit_rents_nothing_and_its_instances_stop(client, vast):
    first, second = client.search(limit=2)
    number = client.rent(first)["new_contract"]
    vast.control.arm("balance_empty")
    assert client.rent(second)["error"] == "insufficient_credit"
    assert client.until(number, "exited")["status_msg"] == "stopped: insufficient balance"
    vast.control.settings(balance=1000)


def test_logs_are_told_by_an_address(client):
    number = client.rent(client.search(limit=1)[0], onstart="echo hello from the script")["new_contract"]
    client.until(number, "running")
    url = client.put(f"/v0/instances/request_logs/{number}/", json={"tail": "100"}).json()["result_url"]
    deadline = time.monotonic() + 10
    while "hello from the script" not in httpx.get(url, trust_env=False).text:
        assert time.monotonic() < deadline
        time.sleep(0.1)
