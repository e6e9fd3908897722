"""`lorry rewards`: what can judge the answers that a model learns from."""

from __future__ import annotations

from typing import Annotated

import typer

from lorry.cli import output
from lorry.cli.plugin_list import described, show


def command(json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the rewards that answers are judged by while a model learns from them, with their settings."""
    if json_:
        output.emit_json(described("rewards"))
    else:
        show("rewards", "method.rewards")
