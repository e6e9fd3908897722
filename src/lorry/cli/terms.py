"""How a run is asked for, whatever its recipe says."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Terms:
    """What the person said beside the recipe."""

    yes: bool = False
    """Whether the person has said yes to what it costs before."""
    dry_run: bool = False
    """Whether the plan alone is wanted."""
    as_json: bool = False
    new: bool = False
    """Whether an earlier run of the same recipe is left alone."""
