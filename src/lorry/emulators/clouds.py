"""The clouds that can be emulated."""

from __future__ import annotations

from lorry.emulators.cloud import Cloud
from lorry.emulators.runpod.app import RunPod
from lorry.emulators.vast.app import Vast

CLOUDS: dict[str, type[Cloud]] = {RunPod.name: RunPod, Vast.name: Vast}
"""By name."""
