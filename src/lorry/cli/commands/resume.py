"""`lorry resume RUN`: go on with a run from its last checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from lorry.cli.options import takes


@dataclass(frozen=True)
class Options:
    """What `lorry resume` takes."""

    run: Annotated[str, typer.Argument(help="A run's id, a beginning of it, or `last`.")] = "last"
    start: Annotated[
        str | None, typer.Option("--from", help="`step-000400`, `best`, or a checkpoint's folder; else the newest.")
    ] = None
    recipe: Annotated[Path | None, typer.Option(help="The recipe, with changes that may be made.")] = None
    override: Annotated[list[str] | None, typer.Option("-o", "--override", help="`train.steps=500`.")] = None
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing: go on up to the budget.")] = False
    json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False


@takes(Options)
def command(options: Options) -> int:
    """Go on with a run that was interrupted, stopped or failed, exactly where it was.

    More steps, evaluation, budget and tracking may change; what decides what is learned may not. A rented run rents again: what
    that may cost is said first, and asked. One that is `detached` has not ended: `lorry attach` takes it up.
    """
    from lorry import resuming
    from lorry.cli import output
    from lorry.cli.loading import load
    from lorry.cli.outcome import View, follow
    from lorry.track.folder import RunFolder
    from lorry.track.store import Store

    changed = load(options.recipe).recipe if options.recipe is not None else None
    answers = "ask" if output.can_ask() and not options.yes else "yes" if options.yes else "none"
    wish = resuming.Continuation(options.run, options.start, options.override or (), changed, answers)
    if RunFolder(Store.open().find(options.run).folder).is_rented:
        from lorry.cli import rental

        return rental.resume(wish, rental.Terms(options.yes, as_json=options.json))
    follow(lambda watch: resuming.go_on(wish, watch), View(resuming.price_per_hour(wish), as_json=options.json))
    return 0
