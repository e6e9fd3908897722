"""`lorry check RECIPE`: everything that is wrong, before anything runs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from lorry.cli import findings as shown
from lorry.cli import output
from lorry.cli.loading import load
from lorry.plan import findings
from lorry.plan.check import check
from lorry.plan.subject import Subject


def command(
    recipe: Annotated[Path, typer.Argument(help="A recipe: a YAML or Python file.")],
    override: Annotated[
        list[str] | None, typer.Option("--override", "-o", help="Replace a value: `train.learning_rate=1e-4`.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> int:
    """Find everything wrong with a recipe before anything runs: settings, model, rows, masks, disk, hardware.

    Exits with 0 where it can run, 2 where something in the input is wrong, 3 where this machine or an account refuses.
    """
    loaded = load(recipe, override or [])
    if output.stderr_is_live():
        output.live("checking the recipe, its model and its rows ...")
    found = check(Subject.of(loaded))
    output.live("")
    code = findings.exit_code(found)
    if as_json:
        output.emit_json({"recipe": str(recipe), "exit_code": code, "findings": [asdict(finding) for finding in found]})
        return code
    shown.show(found)
    _verdict(recipe, code, shown.tally(found))
    return code


def _verdict(recipe: Path, code: int, tally: str) -> None:
    if code:
        output.note(f"\n{tally}: `lorry run {recipe}` would not start")
    else:
        output.note(f"\n{tally or 'nothing is wrong'}; start it: `lorry run {recipe}`")
    if tally:
        output.note("`lorry explain CODE` says more about a finding")
