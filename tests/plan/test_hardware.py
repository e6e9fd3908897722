"""The machine at hand; nvidia-smi is a real program, put on the PATH by the test."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from lorry.plan.hardware import Hardware, look
from subjects import gpu, machine


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return program


def answering(program: Path, script: str) -> None:
    program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    program.chmod(0o755)


def test_this_machine_has_cores_memory_and_a_processor():
    seen = look()
    assert seen.cores >= 1
    assert seen.memory == psutil.virtual_memory().total
    assert seen.processor


def test_gpus_are_read_from_the_driver(driver: Path):
    answering(driver, "echo 'Tesla T4, 15360, 7.5, 550.54.15'; echo 'NVIDIA H200, 143771, 9.0, 550.54.15'")
    old, new = look().gpus
    assert (old.name, old.memory, old.bf16) == ("Tesla T4", 15360 * 2**20, False)
    assert (new.name, new.capability, new.bf16) == ("NVIDIA H200", 9.0, True)


@pytest.mark.parametrize(
    ("named", "seen"),
    [
        (None, ["A", "B", "C"]),
        ("", []),
        ("-1", []),
        ("1", ["B"]),
        ("2,0", ["C", "A"]),
        ("0,-1,1", ["A"]),
        ("7", []),
        ("GPU-8932f937-d72c", ["A", "B", "C"]),
    ],
)
def test_only_gpus_that_cuda_is_let_see_count(
    driver: Path, monkeypatch: pytest.MonkeyPatch, named: str | None, seen: list[str]
):
    answering(driver, 'for name in A B C; do echo "$name, 15360, 7.5, 550.54.15"; done')
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if named is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert [gpu.name for gpu in look().gpus] == seen


def test_gpu_that_hides_a_number_is_still_listed(driver: Path):
    answering(driver, "echo 'GRID, [N/A], 8.0, 1'")
    assert look().gpus[0].memory == 0


def test_driver_that_fails_is_told(driver: Path):
    answering(driver, "echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18")
    seen = look()
    assert seen.gpus == []
    assert "version mismatch" in seen.gpu_trouble


def test_no_driver_is_no_trouble(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("PATH", str(tmp_path))
    seen = look()
    assert (seen.gpus, seen.gpu_trouble) == ([], "")


@pytest.mark.parametrize(
    ("seen", "bf16"),
    [
        (machine(), True),
        (machine(cpu_bf16=False), False),
        (machine(gpu(capability=7.5)), False),
        (machine(gpu()), True),
    ],
)
def test_bf16_is_the_gpus_where_there_are_any(seen: Hardware, bf16: bool):
    assert seen.bf16 is bf16


def test_warning_of_the_driver_is_no_gpu(driver: Path):
    answering(
        driver, "echo 'Tesla T4, 15360, 7.5, 550.54.15'; echo 'WARNING: infoROM is corrupted at gpu 0000:3B:00.0'"
    )
    assert [seen.name for seen in look().gpus] == ["Tesla T4"]
