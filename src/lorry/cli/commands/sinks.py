"""`lorry sinks`: which trackers a run can be followed in."""

from __future__ import annotations

from typing import Annotated

import typer

from lorry.cli import output
from lorry.cli.plugin_list import described, show


def command(json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the trackers that a run can be followed in, with their settings."""
    if json_:
        output.emit_json(described("sinks"))
    else:
        show("sinks", "track.sinks")
