"""A run as programs see it: its folder, and what came out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorry.track import events
from lorry.track.folder import RunFolder


@dataclass(frozen=True)
class Run:
    """One execution of a recipe; everything it says is read from its folder."""

    folder: RunFolder

    @property
    def id(self) -> str:
        """The run's id: the experiment's name and the UTC time."""
        return self.folder.id

    @property
    def adapter(self) -> Path:
        """The folder of the result, in PEFT's format; there once the run has finished."""
        return self.folder.adapter

    @property
    def summary(self) -> dict[str, Any]:
        """What came out, as in `summary.json`; empty before the report is written."""
        if not self.folder.summary.exists():
            return {}
        return json.loads(self.folder.summary.read_text(encoding="utf-8"))

    def events(self) -> Iterator[events.Event]:
        """Every fact so far, in order."""
        return events.read(self.folder.events)
