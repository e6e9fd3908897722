"""`lorry rehearse RECIPE`: the whole run in a minute, on a small copy of the model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lorry import units
from lorry.cli import findings as shown
from lorry.cli import output
from lorry.cli.options import takes

if TYPE_CHECKING:
    from lorry.plan.rehearsal.outcome import Rehearsal, Stage

_LONGEST_NAME = len("generation")
_MARKS = {"passed": ("passed  ", "green"), "failed": ("FAILED  ", "red"), "left out": ("left out", "dim")}


@dataclass(frozen=True)
class Options:
    """What `lorry rehearse` takes."""

    recipe: Annotated[Path, typer.Argument(help="A recipe: a YAML or Python file.")]
    override: Annotated[
        list[str] | None, typer.Option("-o", "--override", help="Replace a value: `train.learning_rate=1e-4`.")
    ] = None
    limit: Annotated[float, typer.Option(min=1, help="Seconds that it may take after the checks.")] = 120
    tokenizer: Annotated[
        Path | None, typer.Option(help="A folder with the tokenizer, where the model's own is not on this machine.")
    ] = None
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False


@takes(Options)
def command(options: Options) -> int:
    """Go through the whole run in a minute: your rows and tokenizer, on a small copy of the model with random weights.

    Checks come first; then two steps on the longest rows and others, an evaluation, answers and metrics, a checkpoint, a
    resume, and the adapter in plain PEFT, on the processor. Neither GPU nor weights are needed, and nothing is left behind.

    Exits with 0 where nothing is in the way of the run, 2 where something in the input is wrong, 3 where a stage failed or this
    machine refuses.
    """
    from lorry import rehearsing
    from lorry.cli.loading import load

    wish = rehearsing.Wish(load(options.recipe, options.override or ()), options.limit, options.tokenizer)
    shows = _Shows(as_json=options.json)
    try:
        result = rehearsing.carry_out(wish, shows.take)
    finally:
        output.live("")
    if options.json:
        output.emit_json({"recipe": str(options.recipe), **result.as_json()})
    else:
        _tell(options.recipe, result)
    return result.exit_code


class _Shows:
    """Shows stages as they begin and end."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json

    def take(self, stage: Stage | str) -> None:
        """A stage begins (its name), or has ended."""
        if isinstance(stage, str):
            if output.stderr_is_live():
                output.live(f"rehearsing: {stage} ...")
        elif not self._as_json:
            _line(stage)
            output.flush()


def _line(stage: Stage) -> None:
    seconds = units.duration(stage.seconds) if stage.ending != "left out" else ""
    told = f"  {stage.told}" if stage.told else ""
    name = stage.name.ljust(_LONGEST_NAME)
    output.pieces([_MARKS[stage.ending], (f"  {name}  {seconds:>8}", ""), (told, "dim")])


def _tell(recipe: Path, result: Rehearsal) -> None:
    """Findings, then how the rehearsal differs from the run, then the verdict."""
    grave = [
        finding for finding in result.findings if finding.severity != "note" or finding.code.startswith("rehearsal.")
    ]
    if grave:
        output.data("")
        shown.show(grave)
    if result.passed:
        _list("rehearsed otherwise than it will run", result.changes)
        _list("what only the run itself can tell", result.unknown)
    output.note(f"\n{_verdict(recipe, result)}")


def _list(title: str, lines: list[str]) -> None:
    if lines:
        output.data(f"\n{title}:")
    for line in lines:
        output.data(f"  {line}")


def _verdict(recipe: Path, result: Rehearsal) -> str:
    took = f"in {units.duration(result.seconds)}"
    if result.failed and result.failed.name == "check":
        return f"{shown.tally(result.findings)}: nothing was rehearsed"
    if result.failed:
        return f"failed at {result.failed.name}, {took}: `lorry run {recipe}` would fail there, too"
    if result.exit_code:
        return f"every stage passed, {took}; but on this machine `lorry run {recipe}` would not start: see above"
    return f"every stage passed, {took}; start it: `lorry run {recipe}`"
