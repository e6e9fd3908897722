"""The store's rows, read from the run folders."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lorry.errors import LorryError
from lorry.track import events
from lorry.track.folder import RunFolder
from lorry.track.state import state

_TIME = re.compile(r"-\d{8}-\d{6}(-\d+)?$")


def rows(runs: Path) -> Iterator[dict[str, Any]]:
    """One row for each folder under `runs` that holds a run; folders that hold none are passed over."""
    for place in sorted(runs.glob("*/")) if runs.is_dir() else ():
        folder = RunFolder(place)
        if folder.resolved.exists() or folder.events.exists():
            yield _row(folder)


def _row(folder: RunFolder) -> dict[str, Any]:
    recipe = _recipe(folder)
    try:
        now = state(events.read(folder.events))
    except LorryError:  # a damaged file of one run must not keep the others from being listed
        now = state([])
    made = now.created_at if now.created_at is not None else folder.path.stat().st_mtime
    return {
        "id": folder.id,
        "name": str(recipe.get("name") or _TIME.sub("", folder.id)),
        "folder": str(folder.path),
        "model": str(_part(recipe, "model").get("id", "")),
        "method": str(_part(recipe, "method").get("name", "")),
        # A run that is under way writes its status and its process again at its next step.
        "status": now.status if now.status in events.ENDINGS else "interrupted",
        "created_at": made,
        "updated_at": now.updated_at or made,
        "step": now.step,
        "steps": now.steps,
        "loss": now.loss,
    }


def _recipe(folder: RunFolder) -> dict[str, Any]:
    try:
        found = json.loads(folder.resolved.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return _part(found, "recipe") if isinstance(found, dict) else {}


def _part(value: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = value.get(key)
    return found if isinstance(found, dict) else {}
