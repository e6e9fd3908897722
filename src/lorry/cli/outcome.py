"""What a run says while it runs and at its end: scores beside the base model's, and where everything lies."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

import typer

from lorry.cli import output
from lorry.cli.progress import Progress
from lorry.errors import GateMissedError, InputError
from lorry.job import Watcher
from lorry.report.facts import headline
from lorry.report.samples import split_name
from lorry.track.events import Event
from lorry.track.folder import RunFolder
from lorry.track.run import Run


@dataclass(frozen=True)
class View:
    """How a run is watched."""

    price_per_hour: float = 0.0
    """US dollars; above 0 money is shown."""
    told: tuple[str, ...] = ()
    """Warnings that need not be shown again."""
    as_json: bool = False
    says_no: Callable[[], None] | None = None
    """What a person's no to going on past the budget does, asked while the run is followed; None stops it as Ctrl-C does."""


def follow(act: Callable[[Watcher], Run], view: View) -> Run:
    """Carries out a run under the eyes of the person, tells its outcome and returns it.

    A smoke run that fails its checks exits with 1. Raises GateMissedError, once all is told, where the adapter is not as good
    as the recipe asks for.
    """
    progress = Progress(price_per_hour=view.price_per_hour, told=view.told)
    missed: GateMissedError | None = None

    def watch(event: Event) -> None:
        progress.show(event)
        if event.kind == "overrun" and event.data["action"] == "ask":
            _ask_whether_to_go_on(view.says_no)

    try:
        run = act(watch)
    except GateMissedError as error:
        missed, run = error, Run(RunFolder(error.folder))
    finally:
        progress.close()
    if view.as_json:
        output.emit_json(run.summary)
    else:
        tell(run)
    if missed is not None:
        raise missed
    verdict = run.summary["verdict"]
    if verdict and not verdict["passed"]:
        raise typer.Exit(1)
    return run


def _ask_whether_to_go_on(says_no: Callable[[], None] | None) -> None:
    """Training goes on while the question stands; `no` stops it as Ctrl-C does, after its last step is saved."""
    if says_no is not None:
        # Whoever controls a rented run must not wait for a person.
        threading.Thread(target=lambda: None if _wants_to_go_on() else says_no(), daemon=True).start()
    elif not _wants_to_go_on():
        raise KeyboardInterrupt


def _wants_to_go_on() -> bool:
    try:
        return says_yes(output.ask("go on until the budget is used up? (yes, or no to stop now)", default="yes"))
    except InputError:  # the terminal is gone; the budget holds all the same
        return True


def says_yes(answer: str) -> bool:
    """Whether an answer agrees."""
    return answer.strip().lower() in ("y", "yes")


def tell(run: Run) -> None:
    """Prints the outcome of a run that has ended."""
    summary = run.summary
    output.data(headline(summary))
    for split, rows in summary["scores"].items():
        output.data(f"\nScores on the {split_name(split)} rows")
        for row in rows:
            output.data(f"  {row['sentence']}")
    for gate in summary["gates"]:
        output.data(f"  gate {gate['sentence']}")
    for check in (summary["verdict"] or {}).get("checks", []):
        output.data(f"  {'passed' if check['passed'] else 'FAILED'}: {check['check']}: {check['message']}")
    output.data(f"\nAdapter  {run.adapter}")
    output.data(f"Report   {run.folder.report_html}")
    output.note(f'try it: `lorry generate {run.id} --prompt "..."`')
