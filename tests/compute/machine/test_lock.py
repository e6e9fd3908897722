"""The release lock: complete, and the versions that were tested."""

from __future__ import annotations

import platform
import re
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from lorry.compute.machine import lock

TOP = Path(__file__).parents[3]


def environment(machine: str = "x86_64", python: str = "3.12") -> dict[str, str]:
    return {
        "sys_platform": "linux",
        "platform_system": "Linux",
        "os_name": "posix",
        "platform_machine": machine,
        "python_version": python,
        "python_full_version": f"{python}.1",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }


each_machine = pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
each_python = pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])


@each_machine
@each_python
def test_lock_has_the_tested_versions_and_adds_only_what_torch_brings(machine, python):
    lines = (TOP / "constraints.txt").read_text().splitlines()
    tested = {
        canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines) if version
    }
    pins = lock.pins(environment(machine, python))
    assert {name: tested.get(name) for name in pins.packages} == pins.packages
    assert all(tested.get(name, version) == version for name, version in pins.torch.items())
    assert pins.torch["torch"] == tested["torch"]


@each_machine
@each_python
def test_lock_covers_all_that_training_needs(machine, python):
    about = environment(machine, python)
    pins = lock.pins(about)
    seen, to_see = set(), [("lorry", "train")]
    while to_see:
        name, extra = to_see.pop()
        if (name, extra) in seen or name in pins.torch:
            continue
        seen.add((name, extra))
        assert name == "lorry" or name in pins.packages, name
        for line in map(Requirement, metadata.requires(name) or []):
            if line.marker is None or line.marker.evaluate({**about, "extra": extra}):
                to_see += [(canonicalize_name(line.name), one) for one in ("", *line.extras)]


def test_torch_comes_with_its_cuda_apart_from_the_rest():
    pins = lock.pins(environment())
    assert {"torch", "triton", "nvidia-cudnn-cu13", "sympy"} <= set(pins.torch)
    assert not [name for name in pins.packages if re.match("nvidia-|cuda-|triton|torch", name)]
    assert not set(pins.torch) & set(pins.packages)


def test_versions_of_the_environment_of_the_tests_are_the_locks():
    if platform.system() != "Linux":
        pytest.skip("the lock is for Linux")
    about = environment(platform.machine(), ".".join(platform.python_version_tuple()[:2]))
    for name, version in lock.pins(about).packages.items():
        assert metadata.version(name) == version, name


def test_installer_is_the_tested_one():
    assert lock.installer() in (TOP / "constraints.txt").read_text().splitlines()
