"""How findings look on the command line."""

from __future__ import annotations

from collections.abc import Sequence

from lorry.cli import output
from lorry.plan.findings import SEVERITIES, Finding

_STYLES = {"error": "red", "warning": "yellow", "note": "dim"}


def show(findings: Sequence[Finding]) -> None:
    """Prints findings on stdout: what and where, then what was seen and what to do about it."""
    for finding in findings:
        place = f"{finding.place}: " if finding.place else ""
        first, *rest = finding.message.split("\n")
        label = (finding.severity.ljust(8), _STYLES[finding.severity])
        output.pieces(
            [label, (f"{place}{first}", "" if finding.severity == "note" else "bold"), (_code(finding), "dim")]
        )
        for line in [*rest, *finding.evidence.splitlines()]:
            output.pieces([("", ""), (f"         {line.strip()}", "dim")])
        if finding.remedy:
            output.pieces([("         → ", "cyan"), (finding.remedy, "")])


def tally(findings: Sequence[Finding]) -> str:
    """`1 error, 2 warnings`; empty where there are neither."""
    counts = {severity: sum(finding.severity == severity for finding in findings) for severity in SEVERITIES[:2]}
    return ", ".join(f"{count} {name}{'' if count == 1 else 's'}" for name, count in counts.items() if count)


def _code(finding: Finding) -> str:
    return f"  [{finding.code}]" if finding.severity != "note" else ""
