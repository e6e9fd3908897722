"""What a finished run says at its end: scores beside the base model's, and where everything lies."""

from __future__ import annotations

from lorry.cli import output
from lorry.report.facts import headline
from lorry.report.samples import split_name
from lorry.track.run import Run


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
