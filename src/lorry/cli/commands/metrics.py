"""`lorry metrics`: what can score an answer."""

from __future__ import annotations

from typing import Annotated

import typer

from lorry.cli import output
from lorry.cli.plugin_list import described, show


def command(json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the metrics of evaluation, with their settings."""
    if json_:
        output.emit_json(described("metrics"))
    else:
        show("metrics", "evaluate.metrics")
