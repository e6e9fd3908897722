"""Installed versions of all kinds, as `lorry check` judges them; the metadata stand in a folder of their own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lorry import plugins
from lorry.plan.checks._base import Check
from lorry.plan.findings import Finding
from lorry.plan.hardware import Gpu, Hardware
from lorry.plan.subject import Subject
from subjects import machine, recipe

LORRY = ("peft<0.22,>=0.20; extra == 'train'", "numpy<3,>=2.1", "trl<2,>=1.15; extra == 'dev'")


def install(folder: Path, name: str, version: str, *requires: str) -> None:
    place = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    place.mkdir()
    wanted = "".join(f"Requires-Dist: {text}\n" for text in requires)
    (place / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{wanted}")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment in which lorry is installed, and nothing else."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.setattr(sys, "path", [str(folder)])
    install(folder, "lorry", "0.1.0", *LORRY)
    return folder


def found(hardware: Hardware | None = None) -> dict[str, Finding]:
    check = plugins.make("checks", "versions")
    assert isinstance(check, Check)
    return {one.code: one for one in check.run(Subject(recipe(), Path(), hardware=hardware or machine()))}


def with_driver(driver: str, capability: float = 8.0) -> Hardware:
    return machine(Gpu("NVIDIA A100", 40 * 10**9, capability, driver))


def test_this_environment_is_sound():
    assert {code for code, one in found().items() if one.severity == "error"} == set()


def test_versions_in_the_ranges_say_nothing(site: Path):
    install(site, "peft", "0.21.2", "torch>=1.13")
    install(site, "torch", "2.13.0")
    install(site, "trl", "0.9.0")
    assert found() == {}


def test_version_that_is_too_old_is_an_error_with_the_command(site: Path):
    install(site, "peft", "0.19.1")
    one = found()["versions.too-old"]
    assert one.message == "peft 0.19.1 is installed, and lorry was made for <0.22,>=0.20"
    assert one.remedy == "pip install 'peft<0.22,>=0.20'"


def test_version_that_is_newer_than_tested_is_a_warning(site: Path):
    install(site, "peft", "0.23.0")
    assert found()["versions.untested"].severity == "warning"


def test_packages_that_exclude_each_other_are_told(site: Path):
    install(site, "peft", "0.21.2", "transformers>=5.20", "click>=99; extra == 'test'")
    install(site, "transformers", "5.16.0")
    assert found()["versions.clash"].message == "peft 0.21.2 asks for transformers>=5.20, and 5.16.0 is installed"


def test_torchvision_for_cuda_beside_torch_for_cpu_is_told(site: Path):
    install(site, "torch", "2.13.0+cpu")
    install(site, "torchvision", "0.28.0", "torch==2.13.0")
    assert found()["versions.builds"].remedy == "pip uninstall torchvision"


@pytest.mark.parametrize(
    ("torch", "runtime", "hardware", "codes"),
    [
        ("2.13.0+cu130", None, with_driver("535.54"), {"versions.driver"}),
        ("2.13.0+cu130", None, with_driver("580.65"), set()),
        ("2.13.0+cu126", None, with_driver("535.54"), set()),
        ("2.13.0", ("nvidia-cuda-runtime", "13.0.96"), with_driver("550.54"), {"versions.driver"}),
        ("2.13.0", ("nvidia-cuda-runtime-cu12", "12.6.77"), with_driver("550.54"), set()),
        ("2.13.0+cu130", None, with_driver("580.65", 7.0), {"versions.capability"}),
        ("2.13.0+cpu", None, with_driver("450.1", 7.0), set()),
        ("2.13.0", None, with_driver("450.1"), set()),
        ("2.13.0+cu130", None, with_driver("[N/A]", 0.0), set()),
    ],
)
def test_driver_and_gpu_are_held_against_the_cuda_of_torch(
    site: Path, torch: str, runtime: tuple[str, str] | None, hardware: Hardware, codes: set[str]
):
    install(site, "torch", torch)
    if runtime:
        install(site, *runtime)
    assert set(found(hardware)) == codes


def test_python_that_is_too_new_is_noted(site: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "version_info", (3, 19, 0))
    assert found()["versions.python"].message.startswith("this is Python 3.19")
