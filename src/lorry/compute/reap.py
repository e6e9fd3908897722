"""Machines that nobody works on: found by comparing what every provider lists with the store, and ended for sure.

Only machines whose names begin as those of lorry's leases do are ever touched.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, cast

from lorry import plugins
from lorry.compute.outcomes import Outcome, OutcomeError
from lorry.compute.providers._base import Machine, Provider
from lorry.compute.receipt import by_hand
from lorry.errors import InputError, LorryError
from lorry.secrets.found import secret
from lorry.track import process
from lorry.track.leases import LeaseRow, Leases, VolumeRow
from lorry.track.store import UNDER_WAY, Store

PREFIX = "lorry-"
"""What the name of every machine that lorry rents begins with."""
SETTLES = 600.0
"""Seconds after which a machine that was asked for, and never answered about, would stand in the provider's list."""
LATE = 60.0
"""Seconds after its deadline within which a machine that can end itself has done so."""
_ASK = 60.0
"""Seconds that a provider may take to answer."""

Kind = Literal["orphan", "unattended", "attended", "gone", "uncertain", "silent", "foreign"]
"""`orphan`: a machine of lorry's name with no open lease here. `unattended`: its lease is open, and no process works on the
run. `attended`: one does. `gone`: the lease is open, and the provider has no such machine. `uncertain`: the same, but asked for
so lately that it may yet appear. `silent`: the provider does not answer. `foreign`: a machine of another name."""


@dataclass(frozen=True)
class Found:
    """A machine or a lease, and how it stands."""

    kind: Kind
    provider: str
    why: str = ""
    machine: Machine | None = None
    lease: LeaseRow | None = None
    via: Provider | None = None
    """Who was asked, and can be told to end it."""

    @property
    def is_to_be_ended(self) -> bool:
        """Whether it is a machine that nobody works on."""
        return self.kind in ("orphan", "unattended")

    @property
    def may_bill(self) -> bool:
        """Whether a machine may be there that costs money and that nobody works on."""
        return self.is_to_be_ended or (self.kind in ("silent", "uncertain") and self.lease is not None)

    @property
    def by_hand(self) -> str:
        """How a person ends it without lorry."""
        if self.via is not None and self.machine is not None:
            return self.via.by_hand(self.machine.id)
        return by_hand(self.lease) if self.lease else f"the console of {self.provider}"


def configured(rows: Iterable[LeaseRow], volumes: Iterable[VolumeRow] = ()) -> tuple[list[Provider], list[Found]]:
    """Every provider that can be asked: those of open leases and of volumes, and those whose key is at hand.

    Also what is to be said of those that cannot be loaded. Providers that cost nothing are left out.
    """
    there = [volume for volume in volumes if volume.deleted_at is None]
    every = [{**one.settings, "name": one.provider} for one in (*(row for row in rows if row.is_open), *there)]
    specs = [spec for number, spec in enumerate(every) if spec not in every[:number]]
    found: list[Provider] = []
    trouble: list[Found] = []
    for spec in [*specs, *({"name": name} for name in plugins.names("providers"))]:
        is_named = spec in specs
        try:
            kind = cast("type[Provider]", plugins.find("providers", str(spec["name"])))
            if not kind.capabilities.bills or not (is_named or (kind.key and secret(kind.key))):
                continue
            provider = cast("Provider", plugins.make("providers", spec))
        except Exception as error:  # whatever a plugin raises must not keep others from being asked
            if is_named or not isinstance(error, InputError):
                trouble.append(Found("silent", str(spec["name"]), f"cannot be loaded: {error}"))
            continue
        if provider not in found:
            found.append(provider)
    return found, trouble


def account(provider: Provider) -> str:
    """What tells one account of a provider from another: a few digits of its key's hash; empty where there is no key."""
    key = secret(provider.key) if provider.key else None
    return hashlib.sha256(key.encode()).hexdigest()[:12] if key else ""


def belongs(row: LeaseRow | VolumeRow, provider: Provider) -> bool:
    """Whether a lease or a volume was made with a provider's settings, and so with its account."""
    try:
        made = plugins.make("providers", {**row.settings, "name": row.provider})
    except LorryError:
        return False
    # Not `==`, which compares open connections as well.
    return type(made) is type(provider) and made.model_dump() == provider.model_dump()


def worked_on(store: Store) -> Callable[[str], bool]:
    """Says of a run whether a process that lives works on it. One that has ended is done with, whoever worked on it."""

    def is_worked_on(run_id: str) -> bool:
        try:
            row = store.find(run_id)
        except InputError:
            return False
        is_under_way = row.id == run_id and row.status in UNDER_WAY
        return is_under_way and row.pid is not None and process.is_alive(row.pid, row.pid_started)

    return is_worked_on


async def survey(
    providers: Sequence[Provider], rows: Sequence[LeaseRow], is_worked_on: Callable[[str], bool], now: float
) -> list[Found]:
    """What every provider lists, and every open lease, each with how it stands. Changes nothing.

    `rows` are all leases of the store. A provider that does not answer within a minute is `silent`, once for each of its open
    leases, or once without a lease.
    """
    told = await asyncio.gather(*(_listed(provider) for provider in providers))
    found: dict[tuple[str, str], Found] = {}
    for provider, answer in zip(providers, told, strict=True):
        of_it = [row for row in rows if row.is_open and row.provider == provider.name and belongs(row, provider)]
        if isinstance(answer, str):
            for row in of_it or [None]:
                seen = Found("silent", provider.name, answer, lease=row, via=provider)
                found[provider.name, row.name if row else ""] = seen
            continue
        machines = [one for one in answer if one.state != "ended"]
        for row in of_it:
            works = is_worked_on(row.run_at(now))
            # Of one name there should be one machine; a second one, made by mistake, bills as well.
            for machine in [one for one in machines if one.name == row.name] or [await _by_id(provider, row)]:
                key = machine.id if isinstance(machine, Machine) else row.name
                found[provider.name, key] = _judged(row, machine, provider, now, is_worked_on=works)
        for machine in machines:
            found.setdefault((provider.name, machine.id), _unowned(machine, provider, rows))
    unasked = [row for row in rows if row.is_open and not any(one.lease == row for one in found.values())]
    return [*found.values(), *(missing for row in unasked for missing in _unasked(row))]


def settle(found: Iterable[Found], leases: Leases, now: float) -> list[LeaseRow]:
    """Closes the leases whose machines are gone, as their providers have confirmed; the rows.

    When one went is not known: it counts as billed up to now, or up to its deadline where it could end itself then.
    """
    return [_closed(one, one.lease, leases, now) for one in found if one.kind == "gone" and one.lease is not None]


@dataclass(frozen=True)
class Patience:
    """Seconds of waiting for an end."""

    total: float = 180.0
    pause: float = 1.0
    """Before the second look; each later one is twice as long."""
    longest: float = 15.0


async def end(found: Found, leases: Leases, patience: Patience | None = None) -> tuple[float | None, str]:
    """Ends a machine: when its provider confirmed that it is gone, or None and why not.

    It is told again and again within the patience, whatever goes wrong on the way; its lease is kept up to date.
    """
    assert found.machine is not None  # noqa: S101 - only machines are ended
    assert found.via is not None  # noqa: S101
    name = found.machine.name
    if found.lease is not None:
        leases.change(name, state="ending")
    at, why = await _ended(found.via, found.machine.id, patience or Patience())
    if at is not None and found.lease is not None and found.lease.machine_id in ("", found.machine.id):
        person = Outcome.STOPPED_BY_PERSON.name
        leases.change(name, state="ended", ended_at=at, outcome=person, why="ended by `lorry reap`")
    elif at is not None and found.lease is None and any(row.name == name for row in leases.since()):
        leases.change(name, ended_at=at)  # it was thought to have ended, and billed up to now
    return at, why


async def _ended(provider: Provider, machine_id: str, patience: Patience) -> tuple[float | None, str]:
    until, pause, why = time.monotonic() + patience.total, patience.pause, ""
    is_told = False
    while True:
        wait = pause
        try:
            async with asyncio.timeout(max(0.1, min(_ASK, until - time.monotonic()))):
                if not is_told:
                    await provider.end(machine_id)
                    is_told = True
                machine = await provider.find(machine_id)
            if machine is None or machine.state == "ended":
                return time.time(), ""
            why = f"{provider.name} still lists it as {machine.state}"
            is_told = wait < patience.longest  # and one that is there after many looks is told again
        except (LorryError, TimeoutError, OSError) as error:
            why = str(error) or f"{provider.name} did not answer in time"
            if isinstance(error, OutcomeError):
                wait = max(wait, error.retry_after or 0.0)
                if error.outcome is Outcome.KEY_REFUSED:
                    return None, why
        if time.monotonic() + wait > until:
            return None, why
        await asyncio.sleep(wait)
        pause = min(2 * pause, patience.longest)


def _closed(found: Found, row: LeaseRow, leases: Leases, now: float) -> LeaseRow:
    could_end_itself = found.via is not None and found.via.capabilities.self_ending != "none"
    if could_end_itself and row.deadline is not None and row.deadline + LATE < now:
        leases.priced(row.name, row.deadline + LATE, 0.0, 0.0)
    return leases.change(row.name, state="ended", ended_at=now, outcome=Outcome.VANISHED.name, why=found.why)


async def _listed(provider: Provider) -> Sequence[Machine] | str:
    """What a provider lists, or why it does not."""
    try:
        async with asyncio.timeout(_ASK):
            return await provider.list()
    except TimeoutError:
        return f"did not answer within {_ASK:.0f} s"
    except (LorryError, OSError) as error:
        return str(error)


async def _by_id(provider: Provider, row: LeaseRow) -> Machine | str | None:
    """A machine that its list lacks, asked for by its id; text where that is not answered."""
    if not row.machine_id:
        return None
    try:
        async with asyncio.timeout(_ASK):
            machine = await provider.find(row.machine_id)
    except TimeoutError:
        return f"did not answer within {_ASK:.0f} s"
    except (LorryError, OSError) as error:
        return str(error)
    return None if machine is None or machine.state == "ended" else machine


def _judged(
    row: LeaseRow, machine: Machine | str | None, provider: Provider, now: float, *, is_worked_on: bool
) -> Found:
    """How an open lease stands."""
    if isinstance(machine, str):
        return Found("silent", provider.name, machine, lease=row, via=provider)
    run = row.run_at(now)
    if is_worked_on:
        return Found("attended", provider.name, f"a process works on `{run}`", machine, row, provider)
    if machine is not None:
        return Found("unattended", provider.name, f"no process works on `{run}`", machine, row, provider)
    if not row.machine_id and now - row.asked_at < SETTLES:
        why = f"was asked for {now - row.asked_at:.0f} s ago, and may yet appear"
        return Found("uncertain", provider.name, why, lease=row, via=provider)
    if row.account and row.account != account(provider):
        why = f"{provider.key} is another key than that with which the machine was rented"
        return Found("silent", provider.name, why, lease=row, via=provider)
    was = "was made" if not row.machine_id else "is there any more"
    return Found("gone", provider.name, f"{provider.name} says that no machine {was}", lease=row, via=provider)


def _unowned(machine: Machine, provider: Provider, rows: Sequence[LeaseRow]) -> Found:
    """A listed machine that no open lease of these settings has."""
    if not machine.name.startswith(PREFIX):
        return Found("foreign", provider.name, "has another name", machine, via=provider)
    lease = next((row for row in rows if row.name == machine.name), None)
    if lease is not None and lease.is_open:  # of the same account with other settings, which has its own turn
        return Found("attended", provider.name, "has an open lease with other settings", machine, via=provider)
    why = "its lease was closed" if lease else "this computer knows no lease of that name"
    return Found("orphan", provider.name, why, machine, via=provider)


def _unasked(row: LeaseRow) -> list[Found]:
    """An open lease whose provider was not asked; none where it costs nothing."""
    try:
        kind = cast("type[Provider]", plugins.find("providers", row.provider))
    except LorryError:
        return [Found("silent", row.provider, "there is no such provider", lease=row)]
    return [Found("silent", row.provider, "could not be asked", lease=row)] if kind.capabilities.bills else []
