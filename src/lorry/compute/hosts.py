"""A person's own hosts before a run goes to one: that they answer, let lorry in, and are those that they were."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import asyncssh

from lorry.compute import ssh
from lorry.compute.outcomes import Outcome, OutcomeError
from lorry.compute.providers._base import Provider
from lorry.compute.providers.ssh import address_of
from lorry.errors import InputError, LorryError, RefusedError
from lorry.track.folder import home
from lorry.track.leases import Leases

NAME = "ssh"
_SECONDS = 15.0
"""For a host to let lorry in."""


def known_key(leases: Leases, host: str) -> str:
    """The host key that a host of this name answered with last; empty where lorry was never there."""
    rows = [row for row in leases.since() if row.provider == NAME and row.host_key]
    return next((row.host_key for row in reversed(rows) if host in (row.machine_id, row.host)), "")


def forget(leases: Leases, host: str) -> bool:
    """Forgets a host's key, so that the next one that it answers with is taken; whether there was one."""
    rows = [row for row in leases.since() if row.provider == NAME and host in (row.machine_id, row.host)]
    known = [row for row in rows if row.host_key and not row.is_open]
    for row in known:
        leases.change(row.name, host_key="")
    return bool(known)


async def look_at(providers: Sequence[Provider]) -> list[str]:
    """Logs in at every host that the providers name and that no run has; what is wrong with some of them, in words.

    Raises RefusedError where one answers with another key than before, and InputError where none lets lorry in.
    """
    names = [host for one in providers if one.name == NAME for host in getattr(one, "hosts", [])]
    if not names:
        return []
    leases, key = Leases.open(), ssh.installation_key(home())
    taken = {row.machine_id for row in leases.opened() if row.provider == NAME}
    free = [host for host in names if host not in taken]
    found = await asyncio.gather(*(_let_in(host, key, known_key(leases, host)) for host in free))
    troubles = [error for error in found if error is not None]
    others = any(one.name != NAME for one in providers)
    if troubles and len(troubles) == len(free) and not others:
        raise InputError(troubles[0].message, place="compute.on", hint=troubles[0].hint)
    return [error.message for error in troubles]


async def _let_in(host: str, key: ssh.KeyPair, known: str) -> LorryError | None:
    """Why a host is of no use now. Raises RefusedError where it is another one than before."""
    try:
        link = await ssh.connect(address_of(host), key, known or None, seconds=_SECONDS)
        await link.close()
    except OutcomeError as error:
        if error.outcome is Outcome.WRONG_HOST_KEY:
            hint = f"if it was set up anew: `lorry provider forget ssh:{host}`; else somebody else answers in its place"
            raise RefusedError(f"`{host}`: {error.message}", place="compute.on", hint=hint) from error
        if isinstance(error.__cause__, asyncssh.PermissionDenied):
            hint = f"add this line to `~/.ssh/authorized_keys` there: {key.public}"
            return InputError(f"`{host}` does not accept lorry's key", hint=hint)
        return InputError(f"`{host}`: {error.message}", hint="does `ssh` from here reach it?")
    return None
