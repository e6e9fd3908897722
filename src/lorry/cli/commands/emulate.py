"""`lorry emulate`: a server that acts like a cloud, whose machines are processes on this computer."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from lorry.cli import output

app = typer.Typer(
    help="Serve an emulated cloud on this computer, to see the whole rented flow without an account.",
    add_completion=False,
)

Port = Annotated[int, typer.Option("--port", min=0, max=65535, help="Port on loopback; 0 for one that is free.")]
Home = Annotated[Path | None, typer.Option("--home", help="Folder for all its state; by default below lorry's home.")]
Key = Annotated[str, typer.Option("--key", help="The key that it accepts; one is made if left out.")]
For = Annotated[float | None, typer.Option("--for", min=0, help="End after so many seconds.")]
Keep = Annotated[bool, typer.Option("--keep-machines", help="Leave its machines running when it ends.")]
Json = Annotated[bool, typer.Option("--json", help="Say where it listens as one line of JSON.")]


@app.command()
def runpod(
    port: Port = 0, home: Home = None, key: Key = "", for_: For = None, keep: Keep = False, as_json: Json = False
) -> None:
    """Serve RunPod's REST API v2."""
    _serve("runpod", {"home": home, "port": port, "key": key, "seconds": for_, "keep_machines": keep}, as_json)


@app.command()
def vast(
    port: Port = 0, home: Home = None, key: Key = "", for_: For = None, keep: Keep = False, as_json: Json = False
) -> None:
    """Serve Vast.ai's API, with a market in which one can be outbid."""
    _serve("vast", {"home": home, "port": port, "key": key, "seconds": for_, "keep_machines": keep}, as_json)


def _serve(name: str, how: dict[str, Any], as_json: bool) -> None:
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
    how = {**how, "home": how["home"] or _home(name)}
    serving.serve(CLOUDS[name], serving.Serving(**how), _announce_json if as_json else _announce)


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
