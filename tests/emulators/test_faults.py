"""What can be made to go wrong, and that it then does."""

from __future__ import annotations

import json
import socket
import subprocess
import time

import pytest

from emulated import SWITCH, order, ssh, ssh_when_ready, ssh_words
from lorry.errors import InputError


def machine_with(client, keys, **changes):
    return client.create(args=SWITCH, env={"PUBLIC_KEY": keys[1]}, **changes)


def test_no_capacity_happens_as_often_as_armed_and_only_for_that_gpu(client, runpod):
    runpod.control.arm("no_capacity", times=2, gpu="*4090")
    client.create(gpu={"id": "NVIDIA L4", "count": 1})
    answers = [client.post("/pods", json=order()).status_code for _ in range(3)]
    assert answers == [400, 400, 201]


@pytest.mark.parametrize("status", [402, 403, 422, 429, 500, 503])
def test_armed_status_is_answered_once_and_nothing_is_made(client, runpod, status):
    runpod.control.arm("status", status=status)
    answer = client.post("/pods", json=order())
    assert answer.status_code == answer.json()["status"] == status
    assert ("retry-after" in answer.headers) == (status == 429)
    assert client.get("/pods").json() == {"pods": []}
    client.create()


def test_status_can_be_armed_for_other_requests(client, runpod):
    runpod.control.arm("status", status=429, retry_after=7, on="list")
    client.create()
    assert client.get("/pods").headers["retry-after"] == "7"
    assert len(client.get("/pods").json()["pods"]) == 1


def test_status_can_be_armed_for_one_run(client, runpod):
    runpod.control.arm("status", status=503, machine="run-7-*")
    client.create("run-6-a")
    assert client.post("/pods", json=order("run-7-a")).status_code == 503
    runpod.control.arm("status", status=500, machine="run-6-a", on="get")
    pod = client.create("other")
    assert client.get(f"/pods/{pod['id']}").status_code == 200
    assert runpod.control.armed()[0].on == "get"


def test_created_but_500_leaves_a_pod_of_that_name(client, runpod):
    runpod.control.arm("created_but_500")
    assert client.post("/pods", json=order("lost-1")).status_code == 500
    assert [pod["name"] for pod in client.get("/pods").json()["pods"]] == ["lost-1"]


def test_api_that_is_down_answers_no_json(client, runpod):
    runpod.control.arm("api_down", seconds=0.5)
    answer = client.get("/pods")
    assert (answer.status_code, answer.headers["content-type"].split(";")[0]) == (502, "text/html")
    time.sleep(0.6)
    assert client.get("/pods").status_code == 200


def test_pod_that_never_gets_ready_starts_for_ever_and_bills(client, runpod):
    runpod.control.arm("never_ready")
    pod = client.until(client.create(), "STARTING")
    time.sleep(0.6)
    assert client.pod(pod)["status"] == "STARTING"
    assert runpod.control.machine(pod["id"]).usd > 0


def test_broken_image_is_an_error_or_a_loop_of_restarts(client, runpod):
    runpod.control.arm("image_broken", machine="bad")
    runpod.control.arm("image_broken", machine="loops", how="loop")
    bad, loops = client.create("bad"), client.create("loops")
    assert client.until(bad, "ERROR")["actions"] == ["start", "terminate"]
    client.until(loops, "RUNNING")
    log = runpod.home / "machines" / loops["id"] / "log" / "container.jsonl"
    deadline = time.monotonic() + 10
    while not (log.exists() and log.read_text().count("exited with code 126, restarting") > 1):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_machine_may_come_without_its_gpu_or_with_another(client, runpod, keys):
    runpod.control.arm("not_as_sold", machine="none")
    runpod.control.arm("not_as_sold", machine="less", gpu="NVIDIA RTX A4000")
    told = {}
    for name in ("none", "less"):
        pod = client.until(machine_with(client, keys, name=name), "RUNNING")
        told[name] = json.loads(ssh_when_ready(pod, keys[0], 'echo "$LORRY_EMULATED_GPU"'))
    assert told["none"] is None
    assert (told["less"]["name"], told["less"]["memory"]) == ("NVIDIA RTX A4000", 12 * 2**30)


def test_udp_port_comes_first_when_armed(client, runpod):
    runpod.control.arm("udp_port_first")
    ports = client.until(client.create(), "RUNNING")["runtime"]["ports"]
    assert [(port["private"], port["type"]) for port in ports] == [(22, "udp"), (22, "tcp")]


def test_old_port_is_told_for_a_while_after_a_restart(client, runpod, keys):
    runpod.control.arm("port_changed_after_restart", seconds=1)
    pod = client.until(machine_with(client, keys), "RUNNING")
    ssh_when_ready(pod, keys[0])
    client.post(f"/pods/{pod['id']}/action", json={"action": "restart"})
    assert client.pod(pod)["ssh"]["direct"]["port"] == pod["ssh"]["direct"]["port"]
    time.sleep(1.1)
    again = client.until(pod, "RUNNING")
    assert again["ssh"]["direct"]["port"] != pod["ssh"]["direct"]["port"]
    ssh_when_ready(again, keys[0])


@pytest.mark.parametrize("before", [True, False])
def test_ssh_is_refused_for_a_while_and_then_answered(client, runpod, keys, before):
    if before:
        runpod.control.arm("ssh_refused", seconds=1.5)
    pod = client.until(machine_with(client, keys), "RUNNING")
    if not before:
        ssh_when_ready(pod, keys[0])
        assert runpod.control.arm("ssh_refused", machine=pod["id"], seconds=1.5) == 1
        time.sleep(0.4)
    direct = pod["ssh"]["direct"]
    with pytest.raises(ConnectionRefusedError), socket.create_connection((direct["host"], direct["port"]), timeout=1):
        pass
    ssh_when_ready(pod, keys[0], seconds=10)


def test_cut_connection_ends_the_session_and_not_what_is_detached(client, runpod, keys):
    pod = client.until(machine_with(client, keys), "RUNNING")
    ssh_when_ready(pod, keys[0], "setsid nohup sleep 444 > /dev/null 2>&1 < /dev/null &")
    session = subprocess.Popen([*ssh_words(pod, keys[0]), "sleep 60"], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 10
    while "sleep 60" not in ssh(pod, keys[0], "pgrep -fa 'sleep 60'").stdout:
        assert time.monotonic() < deadline
    runpod.control.arm("cut_connections", machine="trainer")
    session.communicate(timeout=10)
    assert session.returncode == 255
    assert "sleep 444" in ssh_when_ready(pod, keys[0], "pgrep -fa 'sleep 444'")


@pytest.mark.parametrize("late", [False, True])
def test_slow_network_passes_so_many_bytes_a_second(client, runpod, keys, late):
    if not late:
        runpod.control.arm("slow_network", rate=200_000)
    pod = client.until(machine_with(client, keys), "RUNNING")
    ssh_when_ready(pod, keys[0])
    if late:
        runpod.control.arm("slow_network", machine=pod["id"], rate=200_000)
        time.sleep(0.5)
        ssh_when_ready(pod, keys[0])
    began = time.monotonic()
    done = subprocess.run(
        [*ssh_words(pod, keys[0]), "head -c 400000 /dev/zero"], capture_output=True, timeout=30, check=True
    )
    assert len(done.stdout) == 400_000
    assert 1.5 < time.monotonic() - began < 6


def test_interrupt_waits_for_the_step_in_the_newest_events(client, runpod, keys):
    mounts = {"persistent": {"size": 10, "path": "/workspace"}}
    runpod.control.arm("interrupt", step=10)
    pod = client.until(machine_with(client, keys, mounts=mounts), "RUNNING")
    event = '{"kind": "step", "step": %d}'
    write = "mkdir -p /workspace/runs/a; echo '%s' >> /workspace/runs/a/events.jsonl"
    ssh_when_ready(pod, keys[0], write % (event % 9))
    time.sleep(0.5)
    assert client.pod(pod)["status"] == "RUNNING"
    ssh_when_ready(pod, keys[0], write % (event % 10))
    client.until(pod, "EXITED")
    assert runpod.control.machine(pod["id"]).why == "interrupted by the provider"


def test_interrupted_machine_has_five_seconds_to_save(client, runpod, keys):
    mounts = {"persistent": {"size": 10, "path": "/workspace"}}
    args = "bash -c 'trap \"echo saved > $LORRY_EMULATED_VOLUME/saved\" TERM; while :; do sleep 0.1; done'"
    pod = client.until(client.create(args=args, mounts=mounts), "RUNNING")
    time.sleep(0.5)
    began = time.monotonic()
    runpod.control.arm("interrupt", machine=pod["id"])
    client.until(pod, "EXITED")
    runpod.control.wait(lambda machines: not any(one.pids for one in machines), seconds=15)
    assert 4 < time.monotonic() - began < 9, "it ignores SIGTERM and is killed"
    assert (runpod.home / "machines" / pod["id"] / "volume" / "saved").exists()


@pytest.mark.parametrize(("how", "status"), [("running", "RUNNING"), ("error", "ERROR")])
def test_host_that_is_gone_leaves_no_process_and_goes_on_billing(client, runpod, keys, how, status):
    pod = client.until(machine_with(client, keys), "RUNNING")
    ssh_when_ready(pod, keys[0])
    runpod.control.arm("host_gone", machine=pod["id"], how=how)
    runpod.control.wait(lambda machines: not any(one.pids for one in machines if one.id == pod["id"]))
    time.sleep(0.3)
    assert client.pod(pod)["status"] == status
    assert runpod.control.machine(pod["id"]).usd_per_hour > 0
    assert client.delete(f"/pods/{pod['id']}").status_code == 204


def test_vanished_pod_is_unknown_and_bills_no_more(client, runpod):
    pod = client.until(client.create(args=SWITCH), "RUNNING")
    runpod.control.arm("vanish", machine="train*")
    runpod.control.wait(lambda machines: all(one.is_over for one in machines if one.id == pod["id"]))
    assert client.get(f"/pods/{pod['id']}").status_code == 404
    assert runpod.control.machine(pod["id"]).usd_per_hour == 0


def test_empty_balance_stops_what_has_a_network_volume_and_ends_the_rest(client, runpod):
    volume = client.post("/network-volumes", json={"name": "v", "size": 10, "dataCenter": "EU-RO-1"}).json()
    mounts = {"network": [{"volumeId": volume["id"], "path": "/workspace"}]}
    kept, lost = client.create("kept", mounts=mounts), client.create("lost")
    runpod.control.arm("balance_empty")
    runpod.control.settings(balance=1000)
    assert client.pod(kept)["status"] == "EXITED"
    assert client.get(f"/pods/{lost['id']}").status_code == 404
    client.delete(f"/pods/{kept['id']}")
    client.delete(f"/network-volumes/{volume['id']}")


def test_deletion_fails_as_often_as_armed(client, runpod):
    runpod.control.arm("delete_fails", times=2)
    pod = client.create()
    assert [client.delete(f"/pods/{pod['id']}").status_code for _ in range(3)] == [500, 500, 204]


def test_wrong_fault_or_setting_is_named(runpod):
    with pytest.raises(ValueError, match="kind"):
        runpod.control.arm("meteor")
    with pytest.raises(InputError, match="boot_seconds"):
        runpod.control.settings(boot_seconds=-1)
    with pytest.raises(InputError, match="no machine"):
        runpod.control.machine("nobody")
