"""Everyone whom a run's recipe wants to have told, read from the run's folder."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any, cast

from lorry import plugins
from lorry.errors import InputError
from lorry.recipe.alert_address import variable
from lorry.recipe.schema import TrackSettings
from lorry.track.alert_sender import AlertAddress
from lorry.track.delivery import Target
from lorry.track.folder import RunFolder
from lorry.track.sinks._base import RunFacts, Sink


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
    sinks = [cast("Sink", plugins.make("sinks", chosen)) for chosen in settings.sinks]
    told = [Target(sink.name, sink.open) for sink in sinks]
    return told + [_alerts(AlertAddress(written, settings.alerts)) for written in settings.alerts.to]


def settings_of(run: RunFacts) -> TrackSettings:
    """What the run's recipe says of tracking; nobody is told where it says nothing."""
    return TrackSettings.model_validate(run.recipe.get("track") or {})


def _alerts(address: AlertAddress) -> Target:
    name = variable(address.written)
    if name is None:
        digest = hashlib.sha256(address.written.encode()).hexdigest()[:8]
        name = re.sub(r"[^A-Za-z0-9.]+", "-", address.written)[:40].strip("-.") + f"-{digest}"
    return Target(f"alerts-{name}", address.open)
