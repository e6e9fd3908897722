"""What armed faults do to a machine, and when."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from lorry.emulators.faults import Fault, Kind, matches
from lorry.emulators.machine.steps import newest_step
from lorry.emulators.rental import Rental

if TYPE_CHECKING:
    from lorry.emulators.fleet import Fleet

_LOOKS = 0.3
"""Seconds between two looks at how far a machine's training is."""
_SMALLER = {"name": "NVIDIA T4", "memory": 16 * 10**9}


async def arm(fleet: Fleet, fault: Fault) -> int:
    """Arms a fault; how many machines that are there it was given to at once."""
    if fault.kind == "balance_empty":
        fleet.set_balance(0.0)
        return 0
    if fault.kind == "api_down":
        fleet.account.down_until = fleet.now() + fault.seconds
        return 0
    given = 0
    if fault.machine and fault.kind not in ("no_capacity", "status", "created_but_500"):
        for rental in fleet.there():
            if fault.times > 0 and matches(fault, rental.id, rental.name):
                rental.faults.append(fault.model_copy(update={"times": _times(fault)}))
                fault.times -= fault.times if fault.kind == "delete_fails" else 1
                fleet.write(rental)
                given += 1
    if fault.times > 0 and not (given and fault.machine in fleet.rentals):
        fleet.faults.armed.append(fault)
    fleet.save()
    return given


def _times(fault: Fault) -> int:
    return fault.times if fault.kind == "delete_fails" else 1


async def before_start(fleet: Fleet, rental: Rental) -> None:
    """What has to be in place before the machine's processes are."""
    slow = rental.fault("slow_network")
    if slow is not None:
        await fleet.slow_down(rental, slow.rate)
    refused = rental.fault("ssh_refused")
    if refused is not None and refused.after == 0:
        rental.faults.remove(refused)
        _refuse(fleet, rental, refused)


async def happen(fleet: Fleet, rental: Rental) -> None:
    """Lets the faults of a running machine happen whose time has come."""
    now = fleet.now()
    if rental.refused_until and now >= rental.refused_until:
        rental.refused_until = 0.0
        fleet.computer(rental).refuse_ssh(False)
        fleet.write(rental)
    if rental.inner_port and rental.fault("slow_network"):
        await fleet.slow_down(rental, rental.fault("slow_network").rate)  # type: ignore[union-attr]
    for fault in list(rental.faults):
        if rental.state == "running" and now - rental.state_since >= fault.after:
            await _one(fleet, rental, fault)


async def _one(fleet: Fleet, rental: Rental, fault: Fault) -> None:
    kind: Kind = fault.kind
    if kind == "interrupt" and not (await _has_come(fleet, rental, fault) and rental.state == "running"):
        return
    if kind == "slow_network":
        await fleet.slow_down(rental, fault.rate)
        return
    if kind not in ("ssh_refused", "cut_connections", "interrupt", "host_gone", "vanish"):
        return
    if kind != "host_gone":
        rental.take(kind)
    if kind == "ssh_refused":
        _refuse(fleet, rental, fault)
    elif kind == "cut_connections":
        await fleet.computer(rental).cut()
    elif kind == "interrupt":
        fleet.stop(rental, "interrupted by the provider")
    elif kind == "vanish":
        await fleet.lose(rental, "ended", "vanished")
    else:
        await fleet.lose(rental, "running" if fault.how == "running" else "broken", "host gone")
    fleet.write(rental)


def is_lost(rental: Rental) -> bool:
    """Whether the machine has no process any more and its cloud goes on telling that it runs."""
    gone = rental.fault("host_gone")
    return gone is not None and gone.how == "running" and rental.why == "host gone"


def gpu_of(rental: Rental) -> dict[str, Any] | None:
    """The GPU that the machine acts as having; None for none."""
    if rental.gpu is None:
        return None
    fault = rental.fault("not_as_sold")
    if fault is None:
        return {name: rental.gpu[name] for name in ("name", "memory", "count")}
    if fault.gpu in ("", "*"):
        return None
    known = _SMALLER if fault.gpu == "smaller" else {"name": fault.gpu, "memory": int(rental.gpu["memory"]) // 2}
    return {**known, "count": rental.gpu["count"]}


def keep_telling(rental: Rental, port: int, now: float) -> None:
    """After a restart, lets the API tell the old port for a while, where that fault is armed."""
    fault = rental.fault("port_changed_after_restart")
    if fault is not None:
        rental.told_port, rental.told_until = port, now + fault.seconds


def _refuse(fleet: Fleet, rental: Rental, fault: Fault) -> None:
    rental.refused_until = fleet.now() + fault.seconds
    fleet.computer(rental).refuse_ssh(True)


async def _has_come(fleet: Fleet, rental: Rental, fault: Fault) -> bool:
    """Whether training on the machine has come to the step at which it is interrupted."""
    if fault.step is None:
        return True
    if fleet.now() - fleet.looked_at.get(rental.id, 0.0) < _LOOKS:
        return False
    volume = fleet.volume_of(rental)
    disk = fleet.home / "machines" / rental.id / "disk"
    newest = await asyncio.to_thread(newest_step, [place for place in (disk, volume) if place is not None])
    fleet.looked_at[rental.id] = fleet.now()
    return newest >= fault.step
