"""What the tests of emulators share: clients, keys, a look at what is left."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Any

import httpx

from lorry.emulators.launch import Emulator
from lorry.emulators.machine import processes

GPU = "NVIDIA GeForce RTX 4090"
SWITCH = "bash -c '(setsid sleep 900 &); exec /start.sh'"


class Client(httpx.Client):
    """The API of an emulated RunPod."""

    def __init__(self, emulator: Emulator, key: str | None = None) -> None:
        headers = {"Authorization": f"Bearer {key or emulator.key}", "User-Agent": "lorry-tests"}
        super().__init__(base_url=f"{emulator.url}/v2", headers=headers, timeout=30, trust_env=False)

    def create(self, name: str = "trainer", **changes: Any) -> dict[str, Any]:
        answer = self.post("/pods", json=order(name, **changes))
        assert answer.status_code == 201, answer.text
        return answer.json()

    def pod(self, pod: dict[str, Any]) -> dict[str, Any]:
        return self.get(f"/pods/{pod['id']}").json()

    def until(self, pod: dict[str, Any], status: str, seconds: float = 15) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while (found := self.pod(pod)).get("status") != status:
            assert time.monotonic() < deadline, found
            time.sleep(0.05)
        return found


def order(name: str = "trainer", **changes: Any) -> dict[str, Any]:
    plain = {"name": name, "image": "runpod/pytorch", "gpu": {"id": GPU, "count": 1}, "disk": 20, "ports": ["22/tcp"]}
    return {key: value for key, value in {**plain, **changes}.items() if value is not None}


def key_pair(folder: Path) -> tuple[Path, str]:
    private = folder / "id_ed25519"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(private)], check=True)
    return private, private.with_suffix(".pub").read_text().strip()


def ssh(pod: dict[str, Any], private: Path, command: str, *, program: str = "ssh") -> subprocess.CompletedProcess[str]:
    return subprocess.run([*ssh_words(pod, private), command], capture_output=True, text=True, timeout=30, check=False)


def ssh_words(pod: dict[str, Any], private: Path) -> list[str]:
    direct = pod["ssh"]["direct"]
    options = ["BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR"]
    words = [word for option in options for word in ("-o", option)]
    return ["ssh", *words, "-i", str(private), "-p", str(direct["port"]), f"{direct['username']}@{direct['host']}"]


def ssh_when_ready(pod: dict[str, Any], private: Path, command: str = "true", seconds: float = 15) -> str:
    deadline = time.monotonic() + seconds
    while (done := ssh(pod, private, command)).returncode == 255:
        assert time.monotonic() < deadline, done.stderr
        time.sleep(0.05)
    assert done.returncode == 0, done.stderr
    return done.stdout


def left_behind(emulator: Emulator) -> dict[str, list[int]]:
    return processes.residents(emulator.home / "machines")
