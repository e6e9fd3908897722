"""A run's machine, reached by a person's command."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from lorry.compute.control.reached import connected, reach
from lorry.errors import InputError
from lorry.track.folder import RunFolder
from lorry.track.leases import Leases
from renting import open_lease


@pytest.mark.parametrize("how", ["ssh", "pull"])
def test_machine_whose_key_is_not_pinned_yet_is_not_spoken_to(tmp_path: Path, how: str):
    Leases.open().add(
        open_lease(provider="ssh", settings={"name": "ssh", "hosts": ["nobody@127.0.0.1:9"]}, host_key="")
    )
    folder = RunFolder(tmp_path / "run-1")

    async def ask() -> None:
        if how == "ssh":
            await reach(folder)
            return
        async with connected(folder):
            raise AssertionError

    with pytest.raises(InputError, match="has not answered lorry yet") as caught:
        asyncio.run(ask())
    assert "lorry logs -f run-1" in caught.value.hint
