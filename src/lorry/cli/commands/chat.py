"""`lorry chat RUN`: a conversation with an adapter, or with its base model."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import typer

from lorry.cli import output
from lorry.cli.options import takes
from lorry.errors import InputError


@dataclass(frozen=True)
class Options:
    """With whom, and how."""

    run: Annotated[str, typer.Argument(help="A run's id, a beginning of it, `last`, or an adapter's folder.")] = "last"
    base: Annotated[bool, typer.Option("--base", help="Begin with the base model.")] = False
    system: Annotated[
        str | None, typer.Option(help="The system message; by default the one that all rows of the run have.")
    ] = None
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 512
    model: Annotated[str, typer.Option(help="The base model, in place of the one that the adapter names.")] = ""


@takes(Options)
def command(options: Options) -> None:
    """Talk with an adapter on the terminal; /base, /adapter and /both choose who answers, /exit or Ctrl-D ends."""
    from lorry import job

    job.require_training_packages()
    from lorry.evaluate.opening import find, open_found
    from lorry.evaluate.talk import HELP, Manner, Talk

    found = find(options.run, options.model or None)
    found.must_answer()
    if found.is_raw_text:
        hint = f"continue a text instead: `lorry generate {options.run} --prompt TEXT`"
        raise InputError("this adapter was trained on raw text, not on conversations", hint=hint)
    system = found.usual_system if options.system is None else options.system
    talk = Talk(open_found(found), Manner(system, max_new_tokens=options.max_new_tokens))
    talk.who = "base" if options.base else "adapter"
    if sys.stdin and sys.stdin.isatty():
        output.note(HELP)
    for line in _lines():
        try:
            if not talk.hear(line, output.stream):
                return
        except KeyboardInterrupt:
            output.note("\n(stopped; /exit ends)")


def _lines() -> Iterator[str]:
    """The person's lines, or those of piped stdin, until it ends."""
    if sys.stdin is None:
        return
    if not sys.stdin.isatty():
        yield from sys.stdin
        return
    while True:
        try:
            yield output.ask("you")
        except InputError:
            return
