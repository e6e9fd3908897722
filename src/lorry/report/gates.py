"""Gates in words: what was asked, what was reached, and by how much it was missed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lorry import units
from lorry.report.samples import split_name
from lorry.report.scores import Interval
from lorry.report.sources import mapping
from lorry.visible import clean

Gates = Sequence[Mapping[str, Any]]


def listed(raw: Any) -> list[dict[str, Any]]:
    """The gates of `scores.json` or of an event; none where it has none."""
    return [mapping(one) for one in raw] if isinstance(raw, list) else []  # type: ignore[reportUnknownVariableType]


def verdict(gate: Mapping[str, Any]) -> str:
    """`met`, or `MISSED` with by how much or why."""
    if gate.get("met"):
        return "met"
    by = gate.get("missed_by")
    if not isinstance(by, int | float):
        return f"MISSED: {clean(str(gate.get('why') or 'it was not scored'))}"
    return f"MISSED by {units.value(by)}" if by else "MISSED: it stands on the limit"


def reached(gate: Mapping[str, Any]) -> str:
    """The score with its interval, and whose rows it is of."""
    value = gate.get("reached")
    if not isinstance(value, int | float):
        return "no score"
    return f"{Interval(value, gate.get('low'), gate.get('high'))} on the {split_name(str(gate.get('split')))} rows"


def sentence(gate: Mapping[str, Any]) -> str:
    """`cer < 10 %: 0.12 (0.1 to 0.14) on the test rows, MISSED by 0.02`."""
    return f"{clean(str(gate.get('score')))} {clean(str(gate.get('asked')))}: {reached(gate)}, {verdict(gate)}"


def row(gate: Mapping[str, Any]) -> list[str]:
    """A row of a table: score, asked, reached, verdict."""
    return [str(gate.get("score")), str(gate.get("asked")), reached(gate), verdict(gate)]


HEADS = ("gate", "asked", "reached", "")


def counted(gates: Gates) -> str:
    """`2 of 3 met`; empty without gates."""
    return f"{sum(bool(one.get('met')) for one in gates)} of {len(gates)} met" if gates else ""
