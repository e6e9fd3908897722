"""A run's machine, reached by a command of its own: for a shell, and to fetch what there is so far."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast

from lorry.compute import ssh
from lorry.compute.providers._base import Address, Provider
from lorry.errors import InputError
from lorry.plugins import make
from lorry.track.folder import RunFolder, home
from lorry.track.leases import LeaseRow, Leases


@dataclass(frozen=True)
class Reached:
    """Where a run's machine answers now."""

    row: LeaseRow
    address: Address
    key: ssh.KeyPair


async def reach(folder: RunFolder) -> Reached:
    """The machine that a run is on. Raises InputError where it has none, none that answers, or one whose key is not known."""
    row = held(folder)
    if not row.host_key:
        hint = f"`lorry logs -f {folder.id}` shows when it is ready; whoever answers there before is not known to be it"
        raise InputError(f"the machine of `{folder.id}` has not answered lorry yet", hint=hint)
    provider = cast("Provider", make("providers", {**row.settings, "name": row.provider}))
    try:
        machine = await provider.find(row.machine_id)
    finally:
        await provider.close()
    if machine is None or machine.address is None or machine.state != "running":
        state = machine.state if machine else "gone"
        raise InputError(f"the machine of `{folder.id}` is {state}", hint=f"`lorry logs {folder.id}` tells more")
    return Reached(row, machine.address, ssh.installation_key(home()))


@asynccontextmanager
async def connected(folder: RunFolder) -> AsyncGenerator[ssh.Link]:
    """A connection to a run's machine, to the host key that was pinned."""
    found = await reach(folder)
    link = await ssh.connect(found.address, found.key, found.row.host_key)
    try:
        yield link
    finally:
        await link.close()


def held(folder: RunFolder) -> LeaseRow:
    """The open lease of a run. Raises InputError where it has none."""
    rows = [row for row in Leases.open().serving(folder.id) if row.state == "rented"]
    if not rows:
        raise InputError(f"`{folder.id}` has no machine now", hint=f"`lorry show {folder.id}` tells how it stands")
    return rows[-1]
