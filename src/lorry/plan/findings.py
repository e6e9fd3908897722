"""Findings: what a check has to say, and what the person can do about it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from lorry.errors import InputError, LorryError, RefusedError

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


class Explanation(NamedTuple):
    """What a code stands for, for the docs and `lorry explain`."""

    means: str
    why: str = ""
    """Why it matters; empty for what is only good to know."""
    remedy: str = ""
    """What to do about it; empty where nothing need be done."""


@dataclass(frozen=True)
class Finding:
    """One thing that a check found; `dataclasses.asdict` gives JSON."""

    code: str
    """Stable name, for programs: `data.bad-row`."""
    severity: Severity
    """`error`: the run would fail or do harm; `warning`: it would run, but not as one wishes; `note`: good to know."""
    message: str
    evidence: str = ""
    """What was seen: numbers, places, names."""
    remedy: str = ""
    """What to do about it."""
    place: str = ""
    """`file:line`, or a dotted path into the recipe."""
    refusal: bool = False
    """An error that is no fault of the input: this machine, or an account, will not do."""


def error(code: str, message: str, *, remedy: str, place: str = "", evidence: str = "") -> Finding:
    """An error in what the person gave."""
    return Finding(code, "error", message, evidence, remedy, place)


def refusal(code: str, message: str, *, remedy: str, place: str = "", evidence: str = "") -> Finding:
    """An error that lies outside of the input: no room, no rights, no such hardware."""
    return replace(error(code, message, remedy=remedy, place=place, evidence=evidence), refusal=True)


def warning(code: str, message: str, *, remedy: str = "", place: str = "", evidence: str = "") -> Finding:
    """Something that the person may want to change."""
    return Finding(code, "warning", message, evidence, remedy, place)


def note(code: str, message: str, *, place: str = "", evidence: str = "") -> Finding:
    """Something that is good to know."""
    return Finding(code, "note", message, evidence, "", place)


def from_error(code: str, cause: LorryError) -> Finding:
    """What an exception says, as a finding; its further lines are the evidence."""
    message, _, evidence = cause.message.partition("\n")
    made = error(code, message, remedy=cause.hint, place=cause.place, evidence=evidence)
    return replace(made, refusal=not isinstance(cause, InputError))


def ordered(findings: Iterable[Finding]) -> list[Finding]:
    """The gravest first; within a severity in the order given; each once."""
    return sorted(dict.fromkeys(findings), key=lambda finding: SEVERITIES.index(finding.severity))


def exit_code(findings: Sequence[Finding]) -> int:
    """0 without errors; 2 if something in the input is wrong; 3 if only this machine or an account refuses."""
    errors = [finding for finding in findings if finding.severity == "error"]
    if not errors:
        return 0
    return RefusedError.exit_code if all(finding.refusal for finding in errors) else InputError.exit_code
