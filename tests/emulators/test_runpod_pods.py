"""Pods of the emulated RunPod: from 201 to 404, with a real machine behind them."""

from __future__ import annotations

import json
import time

import pytest

from emulated import GPU, SWITCH, Client, left_behind, order, ssh, ssh_when_ready
from lorry.emulators.runpod import shapes


def test_pod_goes_from_provisioning_to_running_and_only_then_tells_an_address(client):
    made = client.create()
    assert (made["status"], made["runtime"], made["ssh"]["direct"]) == ("PROVISIONING", None, None)
    assert made["actions"] == ["stop", "terminate"]
    pod = client.until(made, "RUNNING")
    assert pod["ssh"]["direct"]["port"] == pod["runtime"]["ports"][0]["public"]
    for answer in (made, pod):
        shapes.validator("Pod").validate(answer)


def test_deleted_pod_is_unknown_and_its_processes_end(client, runpod):
    pod = client.until(client.create(args=SWITCH), "RUNNING")
    assert client.delete(f"/pods/{pod['id']}").status_code == 204
    assert client.get(f"/pods/{pod['id']}").status_code == 404
    assert client.delete(f"/pods/{pod['id']}").json()["detail"] == "pod not found"
    runpod.control.wait(lambda machines: all(one.is_over for one in machines if one.id == pod["id"]))
    assert pod["id"] not in left_behind(runpod)
    assert not (runpod.home / "machines" / pod["id"]).exists()


def test_ssh_session_has_the_machines_home_and_gpu_but_not_the_first_process_variables(client, keys):
    made = client.create(args=SWITCH, env={"PUBLIC_KEY": keys[1], "MY_FLAG": "1"})
    pod = client.until(made, "RUNNING")
    told = dict(line.split("=", 1) for line in ssh_when_ready(pod, keys[0], "env").splitlines())
    assert told["HOME"].endswith(f"{pod['id']}/disk/root")
    assert {"MY_FLAG", "RUNPOD_API_KEY", "PUBLIC_KEY"} & set(told) == set()
    assert json.loads(told["LORRY_EMULATED_GPU"]) == {"name": GPU, "memory": 24 * 2**30, "count": 1}
    first = ssh(pod, keys[0], "cat ../etc/rp_environment").stdout
    assert "export MY_FLAG='1'" in first
    assert "RUNPOD_POD_ID" in first


def test_variables_of_the_image_are_in_sessions_too(client, runpod, keys):
    runpod.control.settings(environment={"HF_HOME": "/some place/hf"})
    pod = client.until(client.create(env={"PUBLIC_KEY": keys[1]}), "RUNNING")
    runpod.control.settings(environment={})
    assert ssh_when_ready(pod, keys[0], 'echo "$HF_HOME"') == "/some place/hf\n"


def test_machine_has_its_own_python_and_uv(client, keys):
    pod = client.until(client.create(env={"PUBLIC_KEY": keys[1]}), "RUNNING")
    assert ssh_when_ready(pod, keys[0], "python3 -c 'print(6 * 7)'; command -v uv").split("\n")[0] == "42"


def test_detached_process_outlives_its_session_and_dies_with_the_pod(client, keys, runpod):
    pod = client.until(client.create(env={"PUBLIC_KEY": keys[1]}), "RUNNING")
    ssh_when_ready(pod, keys[0], "setsid nohup sleep 333 > /dev/null 2>&1 < /dev/null & echo started")
    assert ssh(pod, keys[0], "pgrep -f 'sleep 333' | head -1").stdout.strip()
    client.delete(f"/pods/{pod['id']}")
    runpod.control.wait(lambda machines: not any(one.pids for one in machines if one.id == pod["id"]))


def test_stop_wipes_the_disk_keeps_the_volume_and_start_gives_another_port(client, keys):
    mounts = {"persistent": {"size": 10, "path": "/workspace"}}
    pod = client.until(client.create(env={"PUBLIC_KEY": keys[1], "KEPT": "/workspace/x"}, mounts=mounts), "RUNNING")
    ssh_when_ready(pod, keys[0], 'echo 1 > lost; echo 1 > /workspace/kept; echo 1 > "$LORRY_EMULATED_VOLUME/too"')
    stopped = client.post(f"/pods/{pod['id']}/action", json={"action": "stop"}).json()
    assert (stopped["status"], stopped["cost"], stopped["ssh"]["direct"]) == ("EXITED", 0.0, None)
    client.post(f"/pods/{pod['id']}/action", json={"action": "start"})
    again = client.until(pod, "RUNNING")
    assert again["ssh"]["direct"]["port"] != pod["ssh"]["direct"]["port"]
    assert ssh_when_ready(again, keys[0], "ls; ls /workspace").split() == ["kept", "too"]


def test_container_whose_command_exits_is_restarted_on_an_empty_disk(client, keys, runpod):
    args = "bash -c 'echo run >> /workspace/runs; touch \"$HOME/mark\"; [ $(wc -l < /workspace/runs) -gt 1 ] && exec /start.sh'"
    env = {"PUBLIC_KEY": keys[1]}
    mounts = {"persistent": {"size": 10, "path": "$LORRY_EMULATED_VOLUME"}}
    args = args.replace("/workspace", "$LORRY_EMULATED_VOLUME")
    pod = client.until(client.create(args=args, env=env, mounts=mounts), "RUNNING")
    assert ssh_when_ready(pod, keys[0], 'wc -l < "$LORRY_EMULATED_VOLUME/runs"; ls').split() == ["2", "mark"]
    assert runpod.control.machine(pod["id"]).starts == 1


def test_restart_in_place_keeps_the_port(client, keys):
    pod = client.until(client.create(env={"PUBLIC_KEY": keys[1]}), "RUNNING")
    ssh_when_ready(pod, keys[0], "echo 1 > lost")
    assert client.post(f"/pods/{pod['id']}/action", json={"action": "restart"}).status_code == 200
    time.sleep(0.5)
    again = client.until(pod, "RUNNING")
    assert again["ssh"]["direct"]["port"] == pod["ssh"]["direct"]["port"]
    assert ssh_when_ready(again, keys[0], "ls") == ""


@pytest.mark.parametrize(
    ("change", "status", "told"),
    [
        ({"bid": 1}, 422, "$: additional properties 'bid' not allowed"),
        ({"name": None}, 422, "$: missing property 'name'"),
        ({"image": None}, 422, "$: missing property 'image'"),
        ({"gpu": {"id": GPU, "count": "2"}}, 422, "$.gpu.count"),
        ({"cpu": {"id": "cpu5c", "vcpuCount": 2}}, 400, "exactly one of gpu or cpu"),
        ({"gpu": None}, 400, "exactly one of gpu or cpu"),
        (
            {"mounts": {"persistent": {"size": 10, "path": "/a"}, "network": [{"volumeId": "x", "path": "/a"}]}},
            400,
            "mutually",
        ),
        ({"mounts": {"network": [{"volumeId": "x", "path": "/a"}]}}, 404, "network volume not found"),
        ({"templateId": "nope"}, 404, "template not found"),
        ({"dataCenterIds": ["EU-FR-1"]}, 400, "no longer any instances"),
        ({"gpu": {"id": "NVIDIA RTX 9999"}}, 400, "unknown gpu type"),
        ({"args": "bash -c 'open"}, 400, "args"),
    ],
)
def test_wrong_order_is_refused_as_documented(client, change, status, told):
    answer = client.post("/pods", json=order(**change))
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    shapes.validator("ErrorResponse").validate(answer.json())
    assert told in answer.text
    assert client.get("/pods").json() == {"pods": []}


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"[" * 100_000, b"\xff\xfe"])
def test_hostile_body_is_refused_and_makes_nothing(client, body):
    answer = client.post("/pods", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)
    assert client.get("/pods").json() == {"pods": []}


def test_action_that_does_not_fit_the_status_is_a_conflict(client):
    pod = client.create()
    assert client.post(f"/pods/{pod['id']}/action", json={"action": "restart"}).status_code == 409
    assert client.post(f"/pods/{pod['id']}/action", json={"action": "dance"}).status_code == 422


def test_key_on_the_pod_may_only_act_on_that_pod(client, runpod, keys):
    pod, other = client.create(env={"PUBLIC_KEY": keys[1]}), client.create("other")
    pod = client.until(pod, "RUNNING")
    ssh_when_ready(pod, keys[0])
    first = ssh(pod, keys[0], ". ../etc/rp_environment; echo $RUNPOD_API_KEY $RUNPOD_API_URL").stdout.split()
    with Client(runpod, first[0]) as own:
        assert first[1] == runpod.variables["RUNPOD_API_URL"]
        assert own.get("/pods").status_code == 403
        assert own.delete(f"/pods/{other['id']}").status_code == 403
        assert own.get(f"/pods/{pod['id']}").status_code == 200
        assert own.delete(f"/pods/{pod['id']}").status_code == 204
        assert own.get(f"/pods/{pod['id']}").status_code == 401


def test_machine_ends_itself_with_what_it_was_given(client):
    command = (
        "import os, urllib.request as u; e = os.environ; u.urlopen(u.Request(e['RUNPOD_API_URL'] + '/pods/' + "
        "e['RUNPOD_POD_ID'], method='DELETE', headers={'Authorization': 'Bearer ' + e['RUNPOD_API_KEY'], 'User-Agent': 'x'}))"
    )
    pod = client.create(args=f'python3 -c "{command}"')
    deadline = time.monotonic() + 15
    while client.get(f"/pods/{pod['id']}").status_code != 404:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_cpu_pod_has_no_gpu(client):
    pod = client.create(gpu=None, cpu={"id": "cpu5c", "vcpuCount": 2})
    assert pod["cpu"] == {"id": "cpu5c", "vcpuCount": 2, "memory": 4}
    assert "gpu" not in pod
    shapes.validator("Pod").validate(pod)


def test_account_keys_are_on_pods_that_want_ssh(client, keys):
    client.put("/account/ssh-keys", json={"keys": [keys[1]]})
    pod = client.until(client.create(startSsh=True), "RUNNING")
    assert ssh_when_ready(pod, keys[0], "echo in") == "in\n"
    assert client.pod(pod)["env"] == {}
