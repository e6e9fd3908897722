"""Builders of leases and volumes, and a small real provider whose machines stand in a file."""

from __future__ import annotations

from typing import Any

from lorry.track.leases import LeaseRow, VolumeRow

HOUR = 3600.0
NOON = 1_764_590_400.0
"""2025-12-01 12:00:00 UTC."""


def lease(name: str = "lorry-aaaaaaaa-run", **given: Any) -> LeaseRow:
    """A lease of an hour at a dollar, that began at noon and has ended, unless told otherwise."""
    facts: dict[str, Any] = {
        "run_id": "run-1",
        "attempt": 1,
        "provider": "shed",
        "state": "ended",
        "machine_id": f"m-{name[-8:]}",
        "usd_per_hour": 1.0,
        "asked_at": NOON - 10,
        "rented_at": NOON,
        "ended_at": NOON + HOUR,
        "outcome": "FINISHED",
    }
    return LeaseRow(name=name, **(facts | given))


def open_lease(name: str = "lorry-bbbbbbbb-run", **given: Any) -> LeaseRow:
    """A lease at a dollar an hour that began at noon and goes on."""
    return lease(name, **({"state": "rented", "ended_at": None, "outcome": "", "deadline": NOON + 2 * HOUR} | given))


def volume(name: str = "models", **given: Any) -> VolumeRow:
    """A volume of 73 dollars a month, which are 10 cents an hour, made at noon."""
    facts: dict[str, Any] = {"id": f"v-{name}", "provider": "shed", "gb": 100, "place": "EU-1"}
    return VolumeRow(name=name, **({**facts, "usd_per_month": 73.0, "created_at": NOON} | given))
