from __future__ import annotations

import csv
import os
import time
from pathlib import Path

import pytest

from lorry.trainer.supervise import gpu
from lorry.trainer.supervise.gpu import Sample

REAL = "0, 97, 61423, 81559, 58, 412.87, 1755, 0x0000000000000004, 0"
UNKNOWN_FIELD = 'Field "{field}" is not a valid field to query.'


def put_nvidia_smi(folder: Path, monkeypatch: pytest.MonkeyPatch, *lines: str) -> Path:
    """Puts a program of that name on PATH: a shell script of these lines."""
    path = folder / "bin" / "nvidia-smi"
    path.parent.mkdir()
    path.write_text("\n".join(["#!/bin/sh", *lines]) + "\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join([str(path.parent), "/usr/bin", "/bin"]))
    return path


def says(*lines: str) -> str:
    """A script's line that prints these."""
    return "cat <<'END'\n" + "\n".join(lines) + "\nEND"


def told(**facts) -> Sample:
    values = {"index": 0, "utilisation": 97, "memory_used": 61423, "memory_total": 81559, "temperature": 58}
    values |= {"power": 412.87, "clock": 1755, "throttled": False, "ecc_errors": 0}
    return Sample(**values | facts)


def test_every_number_of_a_card_is_understood(tmp_path, monkeypatch):
    put_nvidia_smi(tmp_path, monkeypatch, says(REAL))
    assert gpu.sample() == [told()]


def test_every_card_is_told(tmp_path, monkeypatch):
    put_nvidia_smi(tmp_path, monkeypatch, says(REAL, REAL.replace("0, 97", "1, 3"), REAL.replace("0, 97", "15, 0")))
    assert [(one.index, one.utilisation) for one in gpu.sample()] == [(0, 97), (1, 3), (15, 0)]


def test_question_is_one_that_nvidia_smi_has(tmp_path, monkeypatch):
    put_nvidia_smi(tmp_path, monkeypatch, f'printf "%s\\n" "$@" > {tmp_path}/asked', says(REAL))
    gpu.sample()
    query, form = (tmp_path / "asked").read_text().splitlines()
    assert form == "--format=csv,noheader,nounits"
    assert query.removeprefix("--query-gpu=").split(",") == [
        *("index", "utilization.gpu", "memory.used", "memory.total", "temperature.gpu", "power.draw", "clocks.sm"),
        *("clocks_event_reasons.active", "ecc.errors.uncorrected.volatile.total"),
    ]


def test_older_driver_is_asked_by_the_older_name(tmp_path, monkeypatch):
    said = UNKNOWN_FIELD.format(field="clocks_event_reasons.active")
    put_nvidia_smi(tmp_path, monkeypatch, f"case \"$1\" in *event_reasons*) echo '{said}'; exit 2;; esac", says(REAL))
    assert gpu.sample() == [told()]


def test_driver_that_knows_neither_name_tells_nothing(tmp_path, monkeypatch):
    put_nvidia_smi(tmp_path, monkeypatch, says(UNKNOWN_FIELD.format(field="ecc")), "exit 2")
    assert gpu.sample() == []


@pytest.mark.parametrize("nothing", ["[N/A]", "[Not Supported]", "[Unknown Error]", "[GPU requires reset]", ""])
def test_what_the_driver_does_not_tell_is_none(tmp_path, monkeypatch, nothing):
    put_nvidia_smi(
        tmp_path, monkeypatch, says(f"0, {nothing}, 5, 10, {nothing}, {nothing}, {nothing}, {nothing}, {nothing}")
    )
    assert gpu.sample() == [
        told(
            utilisation=None, memory_used=5, memory_total=10, temperature=None, power=None, clock=None, ecc_errors=None
        )
    ]


@pytest.mark.parametrize(
    ("bits", "hot"),
    [
        ("0x0000000000000000", False),
        ("0x0000000000000001", False),  # idle
        ("0x0000000000000004", False),  # the power limit that it was given
        ("0x0000000000000008", True),  # hardware slowdown, with no word of power
        ("0x0000000000000020", True),
        ("0x0000000000000040", True),
        ("0x0000000000000048", True),
        ("0x0000000000000080", False),  # power brake
        ("0x0000000000000088", False),  # hardware slowdown for the power brake
        ("0x00000000000000C8", True),  # heat and power
        ("0x00000000000001FF", True),
        ("[N/A]", False),
        ("Not Active", False),
    ],
)
def test_only_heat_counts_as_heat(tmp_path, monkeypatch, bits, hot):
    put_nvidia_smi(tmp_path, monkeypatch, says(REAL.replace("0x0000000000000004", bits)))
    assert [one.throttled for one in gpu.sample()] == [hot]


def test_warnings_between_the_lines_are_passed_over(tmp_path, monkeypatch):
    put_nvidia_smi(
        tmp_path,
        monkeypatch,
        says(
            "WARNING: infoROM is corrupted at gpu 0000:3B:00.0",
            REAL,
            "Unable to determine the device handle for GPU0000:5E:00.0: Unknown Error",
            "",
            "a, warning, with, exactly, as, many, commas, as, this",
            "1, 2, 3",
        ),
    )
    assert gpu.sample() == [told()]


@pytest.mark.parametrize(
    "script",
    [
        "echo 'NVIDIA-SMI has failed because it could not communicate with the NVIDIA driver.'; exit 9",
        "echo 'Failed to initialize NVML: Driver/library version mismatch' >&2; exit 18",
        "echo 'No devices were found'; exit 6",
        "exit 0",
        "kill -9 $$",
        "printf '\\377\\376 \\200\\n'",
    ],
)
def test_driver_that_fails_tells_nothing(tmp_path, monkeypatch, script):
    put_nvidia_smi(tmp_path, monkeypatch, script)
    assert gpu.sample() == []


def test_driver_that_fails_half_way_tells_what_it_told(tmp_path, monkeypatch):
    put_nvidia_smi(tmp_path, monkeypatch, says(REAL), "exit 15")
    assert gpu.sample() == [told()]


def test_driver_that_hangs_is_not_waited_for(tmp_path, monkeypatch):
    put_nvidia_smi(tmp_path, monkeypatch, "sleep 5 &", says(REAL), "wait")
    began = time.monotonic()
    assert gpu.sample(patience=0.3) == []
    assert time.monotonic() - began < 2


def test_program_that_cannot_run_tells_nothing(tmp_path, monkeypatch):
    put_nvidia_smi(tmp_path, monkeypatch).write_text("#!/nowhere/interpreter\n")
    assert gpu.sample() == []


def test_machine_without_a_driver_tells_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu.sample() == []


def test_samples_are_recorded_under_one_heading(tmp_path):
    path = tmp_path / "gpu.csv"
    gpu.record(path, [told(), told(index=1, power=None)], at=0)
    gpu.record(path, [told(utilisation=3)], at=60)
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert [row["time"] for row in rows] == [*["1970-01-01T00:00:00+00:00"] * 2, "1970-01-01T00:01:00+00:00"]
    assert [(row["index"], row["utilisation"], row["power"]) for row in rows] == [
        ("0", "97", "412.87"),
        ("1", "97", ""),
        ("0", "3", "412.87"),
    ]


def test_nothing_to_record_makes_no_file(tmp_path):
    gpu.record(tmp_path / "gpu.csv", [], at=0)
    assert not (tmp_path / "gpu.csv").exists()


def test_heading_is_written_into_a_file_that_a_full_disk_left_empty(tmp_path):
    (tmp_path / "gpu.csv").touch()
    gpu.record(tmp_path / "gpu.csv", [told()], at=0)
    assert (tmp_path / "gpu.csv").read_text().startswith("time,index,utilisation")
