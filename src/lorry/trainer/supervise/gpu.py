"""The GPUs' health, as nvidia-smi tells it: a line a minute in `gpu.csv`."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

_QUERY = (
    "index,utilization.gpu,memory.used,memory.total,temperature.gpu,power.draw,clocks.sm,"
    "{reasons},ecc.errors.uncorrected.volatile.total"
)
_REASONS = ("clocks_event_reasons.active", "clocks_throttle_reasons.active")
"""Why clocks are lowered: its name since driver 535, and before."""
_LINE = re.compile(r"\d+(?:,[^,]*){8}")
_HEAT, _SLOWDOWN, _POWER_BRAKE = 0x20 | 0x40, 0x8, 0x80
"""Bits of nvmlClocksEventReasons: software and hardware thermal slowdown; hardware slowdown, which is for heat or power;
power brake, which says that it was power (NVML API reference)."""


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


def sample(patience: float = 10.0) -> list[Sample]:
    """Every GPU now; takes up to a second. Empty without an NVIDIA driver, or where it does not answer in `patience` s."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    told = ""
    for reasons in _REASONS:
        told = _told(
            [program, f"--query-gpu={_QUERY.format(reasons=reasons)}", "--format=csv,noheader,nounits"], patience
        )
        if "not a valid field" not in told:
            break
    # Warnings come between the lines that were asked for.
    lines = [line for line in told.splitlines() if _LINE.fullmatch(line)]
    return [_sample([part.strip() for part in line.split(",")]) for line in lines]


def record(path: Path, samples: list[Sample], at: float) -> None:
    """Appends samples to a CSV file, which gets its heading with the first one."""
    if not samples:
        return
    names = ["time", *(field.name for field in fields(Sample))]
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names)
        if file.tell() == 0:
            writer.writeheader()
        time = datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
        writer.writerows({"time": time, **asdict(one)} for one in samples)


def _told(command: list[str], patience: float) -> str:
    """What a program prints; nothing where it does not end in time. A broken GPU can hold one for ever: it is left then."""
    try:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, errors="replace"
        )
    except OSError:
        return ""
    try:
        return process.communicate(timeout=patience)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=1)
        return ""
    finally:
        if process.stdout is not None:
            process.stdout.close()


def _sample(parts: list[str]) -> Sample:
    index, *numbers, clock, reasons, errors = parts
    utilisation, used, total, temperature, power = map(_number, numbers)
    throttled = _is_heat(reasons)
    return Sample(int(index), utilisation, used, total, temperature, power, _number(clock), throttled, _number(errors))


def _is_heat(reasons: str) -> bool:
    try:
        bits = int(reasons, 16)
    except ValueError:  # `[N/A]`
        return False
    return bool(bits & _HEAT) or bits & (_SLOWDOWN | _POWER_BRAKE) == _SLOWDOWN


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:  # `[N/A]`
        return None
