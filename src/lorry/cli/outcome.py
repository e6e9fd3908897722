"""What a run says while it runs and at its end: scores beside the base model's, and where everything lies."""

from __future__ import annotations

from collections.abc import Callable

import typer

from lorry.cli import output
from lorry.cli.progress import Progress
from lorry.job import Watcher
from lorry.report.facts import headline
from lorry.report.samples import split_name
from lorry.track.run import Run


def follow(act: Callable[[Watcher], Run], *, price_per_hour: float, as_json: bool) -> None:
    """Carries out a run under the eyes of the person and tells its outcome. A smoke run that fails its checks exits with 1."""
    progress = Progress(price_per_hour=price_per_hour)
    try:
        run = act(progress.show)
    finally:
        progress.close()
    if as_json:
        output.emit_json(run.summary)
    else:
        tell(run)
    verdict = run.summary["verdict"]
    if verdict and not verdict["passed"]:
        raise typer.Exit(1)


def tell(run: Run) -> None:
    """Prints the outcome of a run that has ended."""
    summary = run.summary
    output.data(headline(summary))
    for split, rows in summary["scores"].items():
        output.data(f"\nScores on the {split_name(split)} rows")
        for row in rows:
            output.data(f"  {row['sentence']}")
    for check in (summary["verdict"] or {}).get("checks", []):
        output.data(f"  {'passed' if check['passed'] else 'FAILED'}: {check['check']}: {check['message']}")
    output.data(f"\nAdapter  {run.adapter}")
    output.data(f"Report   {run.folder.report_html}")
    output.note(f'try it: `lorry generate {run.id} --prompt "..."`')
