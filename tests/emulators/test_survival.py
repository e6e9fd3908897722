"""What happens when the server dies, or the first process of a machine: nothing is lost, and nothing is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest

from emulated import SWITCH, Client, key_pair, left_behind, ssh, ssh_when_ready
from lorry.emulators import launch
from lorry.emulators.machine import processes


def test_killed_server_leaves_its_machines_running_and_the_next_takes_them_over(tmp_path):
    private, public = key_pair(tmp_path)
    first = launch.start("runpod", tmp_path / "home")
    first.control.settings(boot_seconds=0.1)
    with Client(first) as client:
        pod = client.until(client.create(args=SWITCH, env={"PUBLIC_KEY": public}), "RUNNING")
        ssh_when_ready(pod, private)
        first.control.arm("no_capacity", gpu="*L4")
        spent = first.control.machine(pod["id"]).usd
    first.kill()
    assert ssh(pod, private, "echo alive").stdout == "alive\n"
    with launch.running("runpod", tmp_path / "home") as second, Client(second) as client:
        assert (second.url, second.key) == (first.url, first.key)
        assert client.pod(pod) == {**pod, "runtime": client.pod(pod)["runtime"]}
        assert second.control.machine(pod["id"]).usd > spent
        assert [fault.kind for fault in second.control.armed()] == ["no_capacity"]
        assert client.post(f"/pods/{pod['id']}/action", json={"action": "stop"}).status_code == 200
        second.control.wait(lambda machines: not machines[0].pids)
        client.post(f"/pods/{pod['id']}/action", json={"action": "start"})
        client.until(pod, "RUNNING")
    assert left_behind(second) == {}


def test_machine_that_died_while_no_server_ran_is_noticed_by_the_next(tmp_path):
    first = launch.start("runpod", tmp_path / "home")
    first.control.settings(boot_seconds=0.1)
    with Client(first) as client:
        pod = client.until(client.create(args=SWITCH), "RUNNING")
    first.kill()
    folder = tmp_path / "home" / "machines" / pod["id"]
    time.sleep(0.3)
    os.kill(int((folder / "run" / "init.pid").read_text()), signal.SIGKILL)
    with launch.running("runpod", tmp_path / "home") as second, Client(second) as client:
        assert client.until(pod, "ERROR")["id"] == pod["id"]
        second.control.wait(lambda machines: not machines[0].pids)


def test_killed_first_process_is_a_lost_host_and_its_orphans_are_swept(runpod, client, keys):
    pod = client.until(client.create(args=SWITCH, env={"PUBLIC_KEY": keys[1]}), "RUNNING")
    ssh_when_ready(pod, keys[0], "setsid nohup sleep 555 > /dev/null 2>&1 < /dev/null &")
    assert len(left_behind(runpod)[pod["id"]]) >= 4
    os.kill(int((runpod.home / "machines" / pod["id"] / "run" / "init.pid").read_text()), signal.SIGKILL)
    client.until(pod, "ERROR")
    runpod.control.wait(lambda machines: not any(one.pids for one in machines if one.id == pod["id"]))
    assert runpod.control.machine(pod["id"]).why == "host lost"


def test_machine_that_starts_processes_as_fast_as_it_can_is_ended_whole(runpod, client):
    args = 'bash -c \'trap "" TERM; while :; do (setsid sh -c "trap : TERM; sleep 60" &) ; sleep 0.01; done\''
    pod = client.until(client.create(args=args), "RUNNING")
    time.sleep(0.7)
    client.delete(f"/pods/{pod['id']}")
    runpod.control.wait(lambda machines: all(one.is_over for one in machines if one.id == pod["id"]), seconds=30)
    assert pod["id"] not in left_behind(runpod)


def test_server_that_is_told_to_end_ends_its_machines_too(tmp_path):
    with launch.running("runpod", tmp_path / "home with a blank") as emulator, Client(emulator) as client:
        emulator.control.settings(boot_seconds=0.1)
        private, public = key_pair(tmp_path)
        pod = client.until(client.create(args=SWITCH, env={"PUBLIC_KEY": public}), "RUNNING")
        assert ssh_when_ready(pod, private, "pwd").endswith("/disk/root\n")
        assert left_behind(emulator)[pod["id"]]
    assert emulator.process.returncode == 0
    assert left_behind(emulator) == {}


def test_kept_machines_outlive_an_orderly_end(tmp_path):
    emulator = launch.start("runpod", tmp_path / "home", "--keep-machines")
    emulator.control.settings(boot_seconds=0.1)
    with Client(emulator) as client:
        pod = client.until(client.create(args=SWITCH), "RUNNING")
    time.sleep(0.3)
    emulator.end()
    assert left_behind(emulator)[pod["id"]]
    with launch.running("runpod", tmp_path / "home") as second, Client(second) as client:
        assert client.pod(pod)["status"] == "RUNNING"
    assert processes.marked().get(pod["id"]) is None


def test_second_server_on_the_same_home_is_refused(runpod):
    words = [sys.executable, "-m", "lorry", "emulate", "runpod", "--home", str(runpod.home)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "another emulator runs" in done.stderr) == (3, True)


def test_command_prints_what_to_paste_and_ends_by_itself(tmp_path):
    words = [
        sys.executable,
        "-m",
        "lorry",
        "emulate",
        "runpod",
        "--home",
        str(tmp_path),
        "--for",
        "0.5",
        "--key",
        "mine",
    ]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.startswith("export RUNPOD_API_URL=http://127.0.0.1:")
    assert done.stdout.endswith("/v2 RUNPOD_API_KEY=mine\n")


def test_missing_openssh_server_is_told_with_how_to_get_it(tmp_path, monkeypatch):
    from lorry.emulators.machine import image
    from lorry.errors import InputError

    monkeypatch.setattr(image.shutil, "which", lambda *_args, **_options: None)
    with pytest.raises(InputError) as told:
        image.find_sshd()
    assert "openssh-server" in told.value.hint


def test_taken_port_is_told(runpod):
    port = int(runpod.url.rsplit(":", 1)[1])
    words = [sys.executable, "-m", "lorry", "emulate", "runpod", "--home", str(runpod.home) + "-2", "--port", str(port)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, f"port {port} is taken" in done.stderr) == (2, True)


def test_state_on_disk_is_closed_to_others(runpod):
    home = Path(runpod.home)
    assert home.stat().st_mode & 0o077 == 0
    assert json.loads((home / "account.json").read_text())["key"] == runpod.key


def test_page_in_a_browser_reaches_neither_the_api_nor_the_control(runpod):
    import httpx

    with httpx.Client(trust_env=False) as browser:
        assert browser.get(f"{runpod.url}/v2/pods", headers={"Host": "evil.example"}).status_code == 400
        plain = {"Content-Type": "text/plain"}
        sent = browser.post(f"{runpod.url}/_control/faults", content=b'{"kind": "vanish"}', headers=plain)
    assert sent.status_code == 415
    assert runpod.control.armed() == []


def test_server_killed_again_and_again_in_the_middle_of_work_loses_no_machine(tmp_path):
    random = Random(5)
    emulator = launch.start("runpod", tmp_path / "home")
    emulator.control.settings(boot_seconds=0.1)
    known: set[str] = set()
    for _ in range(4):
        until = time.monotonic() + random.uniform(0.3, 1.2)
        with Client(emulator) as client:
            while time.monotonic() < until:
                pods = client.get("/pods").json()["pods"]
                known.add(client.create(args=SWITCH)["id"])
                for pod in random.sample(pods, min(2, len(pods))):
                    action = random.choice(["stop", "start", "restart", "terminate"])
                    client.post(f"/pods/{pod['id']}/action", json={"action": action})
        emulator.kill()
        emulator = launch.start("runpod", tmp_path / "home")
    with Client(emulator) as client:
        machines = emulator.control.machines()
        assert {one.id for one in machines} == known
        for one in machines:
            client.delete(f"/pods/{one.id}")
        emulator.control.wait(lambda machines: all(one.is_over and not one.pids for one in machines), seconds=40)
        assert emulator.control.left() == []
        assert emulator.control.ledger()["usd_per_hour"] == 0
    emulator.end()
    assert left_behind(emulator) == {}
    assert not any((tmp_path / "home" / "machines").iterdir())
