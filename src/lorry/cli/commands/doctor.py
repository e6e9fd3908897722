"""`lorry doctor`: what is installed here and what is missing."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from lorry.cli import findings as shown
from lorry.cli import output
from lorry.plan.health import examine


def command(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show what is installed here, what this machine can do, and what keeps it from training.

    Of tokens it tells where they come from: environment, `.env`, keyring. They are never shown.
    """
    health = examine()
    if as_json:
        output.emit_json({"facts": health.facts, "problems": [asdict(problem) for problem in health.problems]})
        return
    for section, facts in health.facts.items():
        output.pieces([(section, "bold")])
        width = max(map(len, facts)) + 2
        for name, value in facts.items():
            output.pieces([(f"  {name.ljust(width)}", "dim"), (value, "red" if value == "missing" else "")])
    if health.problems:
        output.data("")
        shown.show(health.problems)
    errors = [problem for problem in health.problems if problem.severity == "error"]
    output.note("\nthis machine cannot train yet" if errors else "\nthis machine is ready to train")
