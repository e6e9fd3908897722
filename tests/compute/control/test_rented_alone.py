"""A rented run, as far as it needs no machine: what a person asks is heard while nothing else goes on."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import borrowed
import tiny_runs
from lorry.compute import ssh
from lorry.compute.control.at_home import RunAtHome, ask
from lorry.compute.control.rented import Rented
from lorry.compute.control.renting import NothingFound, Renting
from lorry.compute.outcomes import Outcome
from lorry.compute.providers._base import Provider
from lorry.track.folder import home
from lorry.track.leases import Leases


class Spent(Renting):
    """Whose budget pays no machine while another one is not confirmed to be gone."""

    async def rent(self, kind: Any) -> NothingFound:  # noqa: ARG002
        """Nothing, and why."""
        if self.home.request:
            return NothingFound(Outcome.STOPPED_BY_PERSON, "")
        return NothingFound(Outcome.BUDGET, "", is_short=True)


def test_stop_is_heard_while_a_machine_is_not_confirmed_to_be_gone(tmp_path: Path):
    compute = {"on": ["ssh:somebody@localhost"], "gpu": ["cpu"]}
    run = RunAtHome(tiny_runs.begin(tiny_runs.recipe(tmp_path, compute=compute)).folder, lambda _event: None)
    providers: list[Provider] = []

    async def work() -> Any:
        rented = Rented(Spent(run, providers, Leases.open(), ssh.installation_key(home())), borrowed.QUICK)
        rented.endings = [asyncio.create_task(asyncio.sleep(60))]
        asyncio.get_running_loop().call_later(0.2, ask, run.folder, "now")
        return await asyncio.wait_for(rented._rent(), 10)

    found = asyncio.run(work())
    assert isinstance(found, NothingFound)
    assert found.outcome is Outcome.STOPPED_BY_PERSON
