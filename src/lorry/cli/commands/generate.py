"""`lorry generate RUN --prompt TEXT`: one answer, with the adapter and without it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from lorry.cli import output
from lorry.cli.options import takes
from lorry.errors import InputError

if TYPE_CHECKING:
    from lorry.evaluate.sides import Side


@dataclass(frozen=True)
class Options:
    """What is asked, of whom, and how."""

    run: Annotated[str, typer.Argument(help="A run's id, a beginning of it, `last`, or an adapter's folder.")] = "last"
    prompt: Annotated[str, typer.Option("--prompt", "-p", help="The prompt; `-` reads it from stdin.")] = ""
    image: Annotated[
        list[str] | None,
        typer.Option(
            "--image", help="An image, a path or a URL, at an `<image>` in the prompt or before it; may be repeated."
        ),
    ] = None
    base: Annotated[bool, typer.Option("--base", help="Only the base model answers.")] = False
    adapter: Annotated[bool, typer.Option("--adapter", help="Only the adapter answers.")] = False
    system: Annotated[
        str | None, typer.Option(help="The system message; by default the one that all rows of the run have.")
    ] = None
    raw: Annotated[bool, typer.Option("--raw", help="The prompt is the beginning of a text: no chat template.")] = False
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 256
    model: Annotated[str, typer.Option(help="The base model, in place of the one that the adapter names.")] = ""
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False


@takes(Options)
def command(options: Options) -> None:
    """Answer one prompt with an adapter and with its base model, or with one of them; the likeliest token each time."""
    from lorry import job

    prompt = _prompt(options)
    job.require_training_packages()
    from lorry.evaluate.opening import find, open_found
    from lorry.evaluate.sides import SIDES, WORDS
    from lorry.evaluate.talk import Manner, ask

    found = find(options.run, options.model or None)
    found.must_answer()
    system = found.usual_system if options.system is None else options.system
    manner = Manner(system, options.raw or found.is_raw_text, options.max_new_tokens)
    sides: list[Side] = [side for side in SIDES if options.base == options.adapter or getattr(options, side)]
    answers = ask(open_found(found), prompt, sides, manner, options.image or ())
    for side, answer in answers.items():
        if answer.no_room:
            output.warn(f"the prompt fills the context of the {WORDS[side]}: there is no answer")
    if options.as_json:
        texts = {side: answer.texts[0] for side, answer in answers.items()}
        speeds = {side: answer.tokens_per_second for side, answer in answers.items()}
        output.emit_json({"prompt": prompt, **texts, "tokens_per_second": speeds})
    elif len(sides) == 1:
        output.exact(answers[sides[0]].texts[0] + "\n")
    else:
        for side, answer in answers.items():
            output.pieces([(f"{WORDS[side]}:", "bold")])
            output.data(f"{answer.texts[0]}\n")


def _prompt(options: Options) -> str:
    """The prompt as it was typed, or what stdin holds without its last newline. Raises InputError for an empty one."""
    prompt = sys.stdin.read().removesuffix("\n") if options.prompt == "-" and sys.stdin else options.prompt
    if not prompt.strip():
        hint = "give one: `lorry generate RUN --prompt TEXT`, or `--prompt -` for stdin"
        raise InputError("there is no prompt", hint=hint)
    return prompt
