"""What is known of a run before it is under way."""

from __future__ import annotations

import asyncio
from pathlib import Path

import stalls
from lorry.compute.control import controller
from lorry.compute.control.shared import Shared


def test_run_that_waits_for_its_turn_knows_what_a_person_agreed_to(tmp_path: Path):
    folder = stalls.folder(tmp_path / "b", agreed_usd=24.0, on=["runpod"])
    shared = Shared.open()
    assert controller._candidate(folder, shared).agreed_usd == 24.0
    asyncio.run(shared.close())
