"""`lorry methods`: the ways to train."""

from __future__ import annotations

from typing import Annotated

import typer

from lorry.cli import output
from lorry.cli.plugin_list import described, show


def command(json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the methods of training, with their settings."""
    if json_:
        output.emit_json(described("methods"))
    else:
        show("methods", "method")
