"""The GPUs' health, as nvidia-smi tells it: a line a minute in `gpu.csv`."""

from __future__ import annotations

import csv
import shutil
import subprocess
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

_QUERY = (
    "index,utilization.gpu,memory.used,memory.total,temperature.gpu,power.draw,clocks.sm,"
    "clocks_throttle_reasons.active,ecc.errors.uncorrected.volatile.total"
)
_THERMAL = 0x8 | 0x20 | 0x40
"""Bits of nvmlClocksEventReasons: hardware slowdown, software and hardware thermal slowdown (NVML API reference)."""


@dataclass(frozen=True)
class Sample:
    """One GPU at one moment; None where the driver does not tell."""

    index: int
    utilisation: float | None
    """Per cent of the last second in which anything was computed."""
    memory_used: float | None
    """MiB."""
    memory_total: float | None
    temperature: float | None
    """Degrees Celsius."""
    power: float | None
    """Watts."""
    clock: float | None
    """MHz of the streaming multiprocessors."""
    throttled: bool
    """Whether heat slows it down."""
    ecc_errors: float | None
    """Memory errors that could not be corrected since the driver was loaded."""


def sample() -> list[Sample]:
    """Every GPU now; takes up to a second. Empty without an NVIDIA driver, or where it does not answer in 10 s."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    command = [program, f"--query-gpu={_QUERY}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    # Warnings come between the lines that were asked for.
    lines = [line for line in done.stdout.splitlines() if line.count(",") == _QUERY.count(",")]
    return [_sample([part.strip() for part in line.split(",")]) for line in lines]


def record(path: Path, samples: list[Sample], at: float) -> None:
    """Appends samples to a CSV file, which gets its heading with the first one."""
    if not samples:
        return
    names = ["time", *(field.name for field in fields(Sample))]
    is_new = not path.exists()
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names)
        if is_new:
            writer.writeheader()
        time = datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
        writer.writerows({"time": time, **asdict(one)} for one in samples)


def _sample(parts: list[str]) -> Sample:
    index, *numbers, clock, reasons, errors = parts
    utilisation, used, total, temperature, power = map(_number, numbers)
    active = int(reasons, 16) if reasons.startswith("0x") else 0
    throttled = bool(active & _THERMAL)
    return Sample(
        int(index), utilisation, used, total, temperature, power, _number(clock), throttled, _number(errors)
    )


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:  # `[N/A]`
        return None
