"""Everyone whom a run's recipe wants to have told, read from the run's folder."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any, cast

from pydantic import ValidationError

from lorry import plugins
from lorry.errors import InputError
from lorry.recipe.alert_address import variable
from lorry.recipe.schema import TrackSettings
from lorry.track.alert_sender import AlertAddress
from lorry.track.delivery import Target
from lorry.track.folder import RunFolder
from lorry.track.sinks._base import Memory, RunFacts, Session, Sink


def facts_of(folder: RunFolder) -> RunFacts:
    """The run as receivers are told of it. Raises InputError where the folder holds no run."""
    try:
        found = json.loads(folder.resolved.read_text(encoding="utf-8"))
        recipe = cast("dict[str, Any]", found["recipe"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"there is no run in {folder.path}", hint="`lorry ps` lists the runs") from error
    return RunFacts(folder.id, folder.path, recipe)


def targets(settings: TrackSettings) -> list[Target]:
    """The sinks and the addresses of alerts, each with a name that a file can have."""
    told = [_sink(chosen) for chosen in settings.sinks]
    return told + [_alerts(AlertAddress(written, settings.alerts)) for written in settings.alerts.to]


def settings_of(run: RunFacts) -> TrackSettings:
    """What the run's recipe says of tracking; nobody is told where it says nothing. Raises InputError."""
    try:
        return TrackSettings.model_validate(run.recipe.get("track") or {})
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(["track", *(str(part) for part in first["loc"])])
        hint = "the run was begun by another version of lorry, or its resolved.json was changed"
        raise InputError(f"{place}: {first['msg']}", hint=hint) from None


def _sink(chosen: dict[str, Any]) -> Target:
    """A sink that is made when it is first told something: one that cannot be made then stops no other."""

    def open_(run: RunFacts, memory: Memory) -> Session:
        return cast("Sink", plugins.make("sinks", chosen)).open(run, memory)

    return Target(str(chosen["name"]), open_)


def _alerts(address: AlertAddress) -> Target:
    name = variable(address.written)
    if name is None:
        digest = hashlib.sha256(address.written.encode()).hexdigest()[:8]
        name = re.sub(r"[^A-Za-z0-9.]+", "-", address.written)[:40].strip("-.") + f"-{digest}"
    return Target(f"alerts-{name}", address.open)
