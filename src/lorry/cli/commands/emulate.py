"""`lorry emulate`: a server that acts like a cloud, whose machines are processes on this computer."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import typer

from lorry.cli import output
from lorry.cli.options import takes

app = typer.Typer(
    help="Serve an emulated cloud on this computer, to see the whole rented flow without an account.",
    add_completion=False,
)


@dataclass(frozen=True)
class Options:
    """What an emulated cloud takes."""

    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port on loopback; 0 for one that is free.")] = 0
    home: Annotated[
        Path | None, typer.Option("--home", help="Folder for all its state; by default below lorry's home.")
    ] = None
    key: Annotated[str, typer.Option("--key", help="The key that it accepts; one is made if left out.")] = ""
    seconds: Annotated[float | None, typer.Option("--for", min=0, help="End after so many seconds.")] = None
    keep_machines: Annotated[bool, typer.Option("--keep-machines", help="Leave its machines running when it ends.")] = (
        False
    )
    json: Annotated[bool, typer.Option("--json", help="Say where it listens as one line of JSON.")] = False


@app.command()
@takes(Options)
def runpod(options: Options) -> None:
    """Serve RunPod's REST API v2."""
    _serve("runpod", options)


@app.command()
@takes(Options)
def vast(options: Options) -> None:
    """Serve Vast.ai's API, with a market in which one can be outbid."""
    _serve("vast", options)


def _serve(name: str, options: Options) -> None:
    if sys.platform == "win32":
        from lorry.errors import InputError

        raise InputError("emulated machines need Linux or macOS", hint="use WSL2")
    try:
        from lorry.emulators import serving
        from lorry.emulators.clouds import CLOUDS
    except ModuleNotFoundError as error:
        from lorry.errors import MissingExtraError

        hint = "install it: `pip install 'lorry[emulate]'`"
        raise MissingExtraError(f"emulated clouds need {error.name}", hint=hint) from error
    how = {one.name: getattr(options, one.name) for one in fields(options) if one.name != "json"}
    how["home"] = options.home or _home(name)
    serving.serve(CLOUDS[name], serving.Serving(**how), _announce_json if options.json else _announce)


def _announce_json(told: dict[str, Any]) -> None:
    output.exact(json.dumps(told) + "\n")
    output.flush()


def _announce(told: dict[str, Any]) -> None:
    """The line to paste, and what else there is to know."""
    variables = " ".join(f"{name}={value}" for name, value in told["variables"].items())
    output.exact(f"export {variables}\n")
    output.flush()
    output.note(f"an emulated {told['cloud']} listens at {told['url']}; its machines lie in {told['home']}")
    output.note("Ctrl-C ends it")


def _home(name: str) -> Path:
    from lorry.track.folder import home

    return home() / "emulators" / name
