"""The first thing of lorry's own on a rented machine: brings the model there, writes the assignment, becomes the agent.

Started detached as `python -m lorry.compute.machine.aboard RUN_FOLDER`, so that a download goes on when the connection is lost.
What fails before there is an agent is told as the agent would tell it: in the run's events.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lorry.errors import LorryError
from lorry.recipe.own_files import of_recipe
from lorry.recipe.paths import exists
from lorry.recipe.schema import ModelSettings, Recipe
from lorry.secrets.masking import mask
from lorry.track.events import EventLog, last_attempt, read
from lorry.track.folder import RunFolder, home, write_json
from lorry.track.process import started
from lorry.trainer.sources.locate import Source, locate
from lorry.trainer.supervise.spent import seconds_spent

REQUEST = "aboard.json"
CLONE = "code"
"""In the run's folder there: where the person's repository lies, if it was cloned."""
_BEAT = 5.0
"""Seconds between two signs of life: the dead-man switch looks for them."""


def come_aboard(path: Path) -> None:
    """Makes a run's folder ready and becomes its agent; returns only where that failed, and the events say why."""
    folder = RunFolder(path)
    # A shell that starts something in the background has it ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        asked = json.loads((path / REQUEST).read_text(encoding="utf-8"))
        with _alive(folder):
            _make_ready(folder, asked)
    except KeyboardInterrupt:
        log = EventLog(folder.events, attempt=last_attempt(folder.events))
        log.append("stopped", reason="stopped before training began", cause="person")
        return
    except Exception as error:
        _say_failed(folder, error)
        return
    os.execv(sys.executable, [sys.executable, "-m", "lorry.trainer.agent", str(path)])  # noqa: S606 - no shell is meant


def _make_ready(folder: RunFolder, asked: dict[str, Any]) -> None:
    """Writes `resolved.json` with the places that things have on this machine."""
    facts = dict(asked["facts"])
    source = _model(asked, folder)
    data = home() / "cache" / "rows" / str(asked["rows"])
    # Whoever watches is far away; the agent, which outlives this, stands for them.
    watcher = [os.getpid(), started(os.getpid())] if facts.get("answers") == "ask" else None
    here = {"model_folder": str(source.folder), "data_folder": str(data), "base": str(folder.path / "files")}
    _take_from_clone(Recipe.model_validate(facts["recipe"]), folder.path / "files", folder.path / CLONE)
    write_json(folder.resolved, {**facts, **here, "watcher": watcher})


def _take_from_clone(recipe: Recipe, files: Path, clone: Path) -> None:
    """Has the files that did not come along found in the clone of the person's repository."""
    for one in of_recipe(recipe):
        there, wanted = files / one.path, clone / one.path
        if not one.is_model and not exists(there) and exists(wanted):
            there.parent.mkdir(parents=True, exist_ok=True)
            there.unlink(missing_ok=True)  # a link into an earlier clone that is gone
            there.symlink_to(wanted.resolve())


def _model(asked: dict[str, Any], folder: RunFolder) -> Source:
    """The model on this machine: sent along, or fetched from where it is published."""
    if asked["model_folder"]:
        sent = home() / "models" / str(asked["model_folder"])
        return Source(str(asked["model"]["id"]), "folder", sent)
    found = locate(ModelSettings.model_validate(asked["model"]), folder.path / "files")
    log = EventLog(folder.events, attempt=last_attempt(folder.events))
    for note in found.notes:
        log.append("note", message=note)
    return found


@contextmanager
def _alive(folder: RunFolder) -> Generator[None]:
    """Within, a heartbeat is written; this time, too, is paid for, and counts as worked."""
    done = threading.Event()
    began = time.monotonic()
    before: dict[str, Any] = {}
    with suppress(OSError, ValueError, TypeError):
        before = dict(json.loads(folder.heartbeat.read_text(encoding="utf-8")))
    spent = seconds_spent(folder, read(folder.events))
    told = {"attempt": before.get("attempt", 1), "step": before.get("step", 0), "phase": "fetching the model"}

    def beat() -> None:
        while True:
            seconds = spent + time.monotonic() - began
            with suppress(OSError):
                write_json(folder.heartbeat, {**told, "at": time.time(), "agent": os.getpid(), "seconds": seconds})
            if done.wait(_BEAT):
                return

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _say_failed(folder: RunFolder, error: Exception) -> None:
    code, hint = 1, f"see {folder.logs / 'agent.log'}"
    if isinstance(error, LorryError):
        code, hint = error.exit_code, error.hint
    told = str(error) or type(error).__name__
    sys.stderr.write(mask(f"{type(error).__name__}: {told}\n"))
    EventLog(folder.events, attempt=last_attempt(folder.events)).append("failed", error=told, hint=hint, exit_code=code)


if __name__ == "__main__":
    come_aboard(Path(sys.argv[1]))
    sys.exit(1)
