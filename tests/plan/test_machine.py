"""The machine that trains: what is seen of it, and what is said of machines of all kinds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lorry.plan.findings import exit_code
from lorry.plan.machine import GpuFacts, MachineFacts, Promised, collect, covers, judge

GB = 10**9
H100 = GpuFacts("NVIDIA H100", 80 * GB, 79 * GB, (9, 0))
SOUND = MachineFacts([H100], ["sm_80", "sm_90"], 200 * GB, {"/volume": ""})
PROMISED = Promised(gpus=1, gpu_memory=80 * GB, disk=100 * GB)


def with_gpu(**changes: Any) -> MachineFacts:
    return replace(SOUND, gpus=[replace(H100, **changes)])


def codes(facts: MachineFacts, promised: Promised = PROMISED) -> list[str]:
    return [finding.code for finding in judge(facts, promised)]


def test_machine_as_promised_is_ready():
    (finding,) = judge(SOUND, PROMISED)
    assert (finding.code, finding.severity) == ("machine.ready", "note")
    assert "NVIDIA H100" in finding.message


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        (replace(SOUND, gpus=[]), "machine.gpu-missing"),
        (with_gpu(trouble="CUDA error: unspecified launch failure"), "machine.gpu-broken"),
        (with_gpu(capability=(12, 0)), "machine.gpu-uncovered"),
        (with_gpu(memory=40 * GB, free=40 * GB), "machine.less-memory"),
        (with_gpu(free=30 * GB), "machine.less-memory"),
        (replace(SOUND, room=GB), "machine.disk-full"),
        (replace(SOUND, folders={"/volume": "Read-only file system"}), "machine.not-writable"),
    ],
)
def test_what_is_not_as_promised_is_told(facts: MachineFacts, code: str):
    assert codes(facts) == [code]


def test_faults_refuse_and_name_the_gpu_or_the_folder():
    found = judge(replace(with_gpu(capability=(7, 0)), folders={"/volume": "Read-only file system"}), PROMISED)
    assert exit_code(found) == 3
    assert [finding.place for finding in found] == ["GPU 0", "/volume"]


def test_memory_that_somebody_else_holds_is_a_warning():
    (finding,) = judge(with_gpu(free=30 * GB), PROMISED)
    assert finding.severity == "warning"


def test_machine_of_which_nothing_was_promised_is_taken_as_it_is():
    assert codes(MachineFacts(), Promised()) == ["machine.ready"]


@pytest.mark.parametrize(
    ("architectures", "capability", "covered"),
    [
        (["sm_80"], (8, 0), True),
        (["sm_80"], (8, 9), True),
        (["sm_86"], (8, 0), False),
        (["sm_80", "sm_90"], (7, 5), False),
        (["sm_90"], (12, 0), False),
        (["sm_90", "compute_90"], (12, 0), True),
        (["sm_90a"], (9, 0), True),
        (["sm_100a"], (10, 3), False),
        (["sm_120"], (12, 1), True),
        ([], (8, 0), False),
    ],
)
def test_coverage_follows_the_rules_of_cuda(architectures: list[str], capability: tuple[int, int], covered: bool):
    assert covers(architectures, capability) is covered


def test_this_machine_can_be_looked_at(tmp_path: Path):
    facts = collect([tmp_path / "new" / "home"])
    assert facts.room > 0
    assert facts.folders == {str(tmp_path / "new" / "home"): ""}
    assert (tmp_path / "new" / "home").is_dir()


def test_folder_that_cannot_be_written_says_why(tmp_path: Path):
    (tmp_path / "file").touch()
    (why,) = collect([tmp_path / "file" / "home"]).folders.values()
    assert why == "Not a directory"


@pytest.mark.gpu
def test_gpu_computes_and_is_covered():
    facts = collect([])
    assert facts.gpus
    assert codes(facts, Promised(gpus=1)) == ["machine.ready"]
