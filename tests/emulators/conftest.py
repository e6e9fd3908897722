"""An emulated RunPod for each test module, and the promise that none of its machines leaves anything behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from emulated import Client, key_pair
from lorry.emulators import launch
from lorry.emulators.launch import Emulator
from lorry.emulators.machine import processes


@pytest.fixture(scope="module")
def runpod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    home = tmp_path_factory.mktemp("emulated")
    with launch.running("runpod", home / "runpod") as emulator:
        emulator.control.settings(boot_seconds=0.2, ssh_seconds=0)
        yield emulator
    assert processes.residents(emulator.home / "machines") == {}


@pytest.fixture
def client(runpod: Emulator) -> Iterator[Client]:
    with Client(runpod) as client:
        yield client
        runpod.control.disarm()
        for pod in client.get("/pods").json()["pods"]:
            client.delete(f"/pods/{pod['id']}")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    return key_pair(tmp_path_factory.mktemp("keys"))
