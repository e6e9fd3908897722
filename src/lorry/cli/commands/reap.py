"""`lorry reap`: ends rented machines that nobody works on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from lorry import units
from lorry.cli import output
from lorry.compute import reap
from lorry.compute.providers._base import Provider, Volume
from lorry.compute.reap import Found
from lorry.errors import LorryError, MayBillError
from lorry.track.leases import LeaseRow, Leases
from lorry.track.store import Store

_COLUMNS = (
    output.Column("machine"),
    output.Column("id"),
    output.Column("provider"),
    output.Column("state"),
    output.Column("USD/h", right=True),
    output.Column("since (UTC)"),
    output.Column("why"),
)
_VOLUME_COLUMNS = (
    output.Column("volume"),
    output.Column("id"),
    output.Column("provider"),
    output.Column("place"),
    output.Column("GB", right=True),
    output.Column("USD/month", right=True),
)
_ASK = 60.0


@dataclass(frozen=True)
class _Seen:
    """What was found, before anything is ended."""

    found: list[Found]
    closed: list[LeaseRow]
    volumes: list[tuple[str, Volume]]

    @property
    def doomed(self) -> list[Found]:
        return [one for one in self.found if one.is_to_be_ended]


def command(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="End them without asking.")] = False,
    orphans: Annotated[bool, typer.Option("--orphans", help="Only machines that no open lease here is for.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON; ends nothing without `--yes`.")] = False,
) -> int:
    """End rented machines that nobody works on, and list volumes, which cost money too.

    Asks every provider whose key is at hand. Only machines whose names begin with `lorry-` are ended: those that no open lease
    of this computer is for (another computer's lorry may have rented them), and those of runs on which no process works, which
    may be training detached: `lorry attach RUN` takes such a run up. What one has not copied home is lost.

    Leaves with 4 while a machine may still bill.
    """
    return asyncio.run(_reap(Leases.open(), yes=yes, orphans=orphans, as_json=as_json))


async def _reap(leases: Leases, *, yes: bool, orphans: bool, as_json: bool) -> int:
    providers, trouble = reap.configured(leases.opened(), leases.volumes())
    try:
        seen = await _look(leases, providers, trouble)
        if not as_json:
            _show(seen)
        doomed = [one for one in seen.doomed if one.kind == "orphan" or not orphans]
        is_agreed = bool(doomed) and (yes or (not as_json and _agrees(doomed)))
        told = await asyncio.gather(*(reap.end(one, leases) for one in doomed)) if is_agreed else []
        ends = {id(one): how for one, how in zip(doomed, told, strict=True)} if told else {}
        if as_json:
            output.emit_json(_described(seen, ends))
        else:
            _say_ended(doomed, ends)
        _refuse_what_may_bill(
            [one for one in seen.found if one.may_bill and (one in doomed or not one.is_to_be_ended)], ends
        )
        return 0
    finally:
        await asyncio.gather(*(provider.close() for provider in providers), return_exceptions=True)


async def _look(leases: Leases, providers: Sequence[Provider], trouble: Sequence[Found]) -> _Seen:
    now = time.time()
    if output.stderr_is_live():
        output.live(f"asking {', '.join(dict.fromkeys(one.name for one in providers))} ..." if providers else "")
    found = await reap.survey(providers, leases.since(), reap.worked_on(Store.open()), now)
    closed = reap.settle(found, leases, now)
    volumes = await asyncio.gather(*(_volumes(leases, provider, now) for provider in providers))
    output.live("")
    return _Seen([*found, *trouble], closed, [one for some in volumes for one in some])


async def _volumes(leases: Leases, provider: Provider, now: float) -> list[tuple[str, Volume]]:
    """A provider's volumes; those of the store that it does not list any more are written down as deleted.

    Those of another account are left as they are: this one's list says nothing of them.
    """
    if not provider.capabilities.volumes:
        return []
    with suppress(LorryError, OSError, TimeoutError):  # one that does not answer has said so already
        async with asyncio.timeout(_ASK):
            listed = await provider.volumes()
        ids, account = {one.id for one in listed}, reap.account(provider)
        for row in leases.volumes():
            if row.deleted_at is not None or not reap.belongs(row, provider):
                continue
            if row.id in ids:
                leases.volume_is_of(row, account)
            elif row.account in ("", account):
                leases.volume_deleted(row.provider, row.id, now)
        return [(provider.name, one) for one in listed]
    return []


def _show(seen: _Seen) -> None:
    """Everything that was found, the machines that would be ended last."""
    for row in seen.closed:
        output.note(f"{row.name}: {row.why}; its lease is closed")
    for one in seen.found:
        if one.kind == "silent" and one.lease is None:
            output.warn(f"{one.provider}: {one.why}")
        elif one.kind == "attended" and one.machine is not None:
            output.note(f"{one.machine.name} at {one.provider}: {one.why}; left alone")
    others = sum(one.kind == "foreign" for one in seen.found)
    if others:
        output.note(f"{others} {'machine' if others == 1 else 'machines'} of other names: left alone")
    if seen.volumes:
        output.table(_VOLUME_COLUMNS, [_volume_cells(*one) for one in seen.volumes], fold=False)
        output.note("volumes are never deleted here; `lorry volume delete` does")
    if seen.doomed:
        output.table(_COLUMNS, [_cells(one) for one in seen.doomed], fold=False)
    elif not any(one.may_bill for one in seen.found):
        output.note("no machine of lorry's is left that nobody works on")


def _cells(one: Found) -> list[str]:
    machine = one.machine
    if machine is None:
        return ["-"] * len(_COLUMNS)
    since = _since(one)
    shown = units.moment(since)[:16] if since else "?"
    price = units.cents(machine.usd_per_hour)
    return [machine.name, machine.id, one.provider, machine.state, price, shown, one.why]


def _since(one: Found) -> float | None:
    if one.machine is not None and one.machine.created_at:
        return one.machine.created_at
    return (one.lease.rented_at or one.lease.asked_at) if one.lease else None


def _volume_cells(provider: str, one: Volume) -> list[str]:
    price = "?" if one.usd_per_month is None else units.money(one.usd_per_month)
    return [one.name, one.id, provider, one.place, str(one.gb), price]


def _agrees(doomed: Sequence[Found]) -> bool:
    from lorry.cli.outcome import says_yes

    if not output.can_ask():
        output.note("nothing was ended; `lorry reap --yes` ends them")
        return False
    price = units.money(sum(one.machine.usd_per_hour for one in doomed if one.machine))
    what = f"this machine ({price}/h)" if len(doomed) == 1 else f"these {len(doomed)} machines ({price}/h)"
    return says_yes(output.ask(f"end {what}, with all that was not copied home?", default="no"))


def _say_ended(doomed: Sequence[Found], ends: dict[int, tuple[float | None, str]]) -> None:
    for one in doomed:
        at, _ = ends.get(id(one), (None, ""))
        if at is not None and one.machine is not None:
            output.data(f"{one.machine.name} has ended, confirmed at {units.moment(at)} UTC")


def _refuse_what_may_bill(found: Sequence[Found], ends: dict[int, tuple[float | None, str]]) -> None:
    """Raises MayBillError with each machine that may still cost money, and how to end it by hand."""
    left = [one for one in found if ends.get(id(one), (None, ""))[0] is None]
    if not left:
        return
    lines = [_left(one, ends.get(id(one), (None, ""))[1]) for one in left]
    hands = list(dict.fromkeys(one.by_hand for one in left))
    how = "`lorry reap` ends them, or says what keeps it; by hand:"
    raise MayBillError("\n  ".join(["may still bill:", *lines]), hint="\n  ".join([how, *hands]))


def _left(one: Found, why: str) -> str:
    name = one.machine.name if one.machine else one.lease.name if one.lease else ""
    number = one.machine.id if one.machine else one.lease.machine_id if one.lease else ""
    price = one.machine.usd_per_hour if one.machine else sum(one.lease.price_at(time.time())) if one.lease else 0.0
    since = _since(one)
    told = f", since {units.moment(since)} UTC" if since else ""
    return f"{name}{f' ({number})' if number else ''} at {one.provider}, {units.money(price)}/h{told}: {why or one.why}"


def _described(seen: _Seen, ends: dict[int, tuple[float | None, str]]) -> dict[str, Any]:
    machines = [_fact(one, ends.get(id(one))) for one in seen.found if one.kind != "foreign"]
    return {
        "machines": machines,
        "others": sum(one.kind == "foreign" for one in seen.found),
        "closed": [row.name for row in seen.closed],
        "volumes": [
            {"provider": provider, "id": one.id, "name": one.name, "place": one.place, "gb": one.gb}
            | {"usd_per_month": one.usd_per_month}
            for provider, one in seen.volumes
        ],
    }


def _fact(one: Found, end: tuple[float | None, str] | None) -> dict[str, Any]:
    return {
        "kind": one.kind,
        "provider": one.provider,
        "name": one.machine.name if one.machine else one.lease.name if one.lease else None,
        "id": one.machine.id if one.machine else one.lease.machine_id if one.lease else None,
        "state": one.machine.state if one.machine else None,
        "usd_per_hour": one.machine.usd_per_hour if one.machine else None,
        "since": _since(one),
        "run": one.lease.run_id if one.lease else None,
        "why": (end[1] if end and end[1] else one.why),
        "by_hand": one.by_hand if one.may_bill else None,
        "ended_at": end[0] if end else None,
    }
