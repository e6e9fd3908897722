"""What checks found in rows, remembered for as long as the rows, the check and lorry are the same.

A plan is made again and again while a recipe takes shape, and reading a hundred thousand rows takes seconds each time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict
from functools import cache as once
from pathlib import Path

import lorry
from lorry.plan.checks._base import Check
from lorry.plan.findings import Finding
from lorry.plan.subject import Subject
from lorry.track.folder import cache, write_text


def found(check: Check, subject: Subject) -> Iterable[Finding]:
    """What a check finds, or what it found in these very rows before. Raises what the check raises."""
    place = _place(check, subject) if check.of_rows_alone else None
    if place is None:
        yield from check.run(subject)
        return
    before = _read(place)
    if before is not None:
        yield from before
        return
    seen: list[Finding] = []
    for finding in check.run(subject):
        seen.append(finding)
        yield finding
    _write(place, seen)


def _place(check: Check, subject: Subject) -> Path | None:
    """None for rows that do not lie where a hash of all that they were made of names them, and for others' checks."""
    rows, is_own = subject.prepared.folder, type(check).__module__.startswith("lorry.plan.checks.")
    if not is_own or rows.parent != cache() / "rows":
        return None
    return cache() / "findings" / rows.name / f"{type(check).name}-{_code()}.json"


@once
def _code() -> str:
    """Tells one state of lorry's code from another: a check's rules lie in many rooms."""
    package = Path(lorry.__file__).parent
    states = [(str(file.relative_to(package)), file.stat()) for file in sorted(package.rglob("*.py"))]
    facts = [f"{name} {now.st_size} {now.st_mtime_ns}" for name, now in states]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]


def _read(place: Path) -> list[Finding] | None:
    try:
        return [Finding(**one) for one in json.loads(place.read_bytes())]
    except (OSError, ValueError, TypeError):
        return None


def _write(place: Path, findings: list[Finding]) -> None:
    try:
        write_text(place, json.dumps([asdict(one) for one in findings]))
    except OSError:
        return  # a full or read-only disk is another check's matter; the next plan looks again
