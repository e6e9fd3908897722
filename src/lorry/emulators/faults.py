"""Faults that can be armed: what a cloud, a network or a machine may do wrong, for tests and for whoever wants to see it."""

from __future__ import annotations

import secrets
from fnmatch import fnmatchcase
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

OfRequests = Literal["no_capacity", "status", "created_but_500", "api_down"]
"""Faults of the API: they happen to the next request that fits."""
OfMachines = Literal[
    "never_ready",
    "image_broken",
    "not_as_sold",
    "udp_port_first",
    "port_changed_after_restart",
    "slow_network",
    "ssh_refused",
    "cut_connections",
    "interrupt",
    "host_gone",
    "vanish",
    "delete_fails",
]
"""Faults of one machine: they happen to those that fit and are there, else to the next ones that are rented."""
OfAccounts = Literal["balance_empty"]
Kind = Literal[OfRequests, OfMachines, OfAccounts]
MACHINE_KINDS: tuple[str, ...] = get_args(OfMachines)


class Fault(BaseModel):
    """One fault, and how often it happens."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    kind: Kind
    times: int = Field(default=1, ge=1)
    """How often: `delete_fails` per machine, the others altogether."""
    machine: str = ""
    """An id, or a pattern of names (`run-7-*`); empty for the next machine that is rented, or any request."""
    gpu: str = "*"
    """`no_capacity`: a pattern of GPU ids. `not_as_sold`: the GPU's id that the machine has instead, empty for none."""
    on: Literal["create", "get", "list", "delete", "action", "catalog", "any"] = "create"
    """`status`: of which requests."""
    status: int = Field(default=500, ge=400, le=599)
    retry_after: int | None = None
    """Seconds; sent with a `status` of 429 or 503."""
    seconds: float = Field(default=5.0, ge=0)
    """How long: `api_down`, `ssh_refused`; for `port_changed_after_restart` how long the old port is told."""
    after: float = Field(default=0.0, ge=0)
    """Seconds from when the machine runs until the fault happens."""
    step: int | None = None
    """`interrupt`: not before a step of this number, or a later one, stands in the newest `events.jsonl` on the machine."""
    rate: float = Field(default=65536.0, gt=0)
    """`slow_network`: bytes a second each way, over all connections."""
    how: Literal["", "error", "loop", "running"] = ""
    """`image_broken`: `error` (cannot be pulled) or `loop` (exits at once, again and again). `host_gone`: the status becomes
    `error`, or stays `running`. By default the first."""
    id: str = Field(default_factory=lambda: secrets.token_hex(4))


class Faults:
    """The faults that are armed and have not happened yet."""

    def __init__(self, armed: list[Fault] | None = None) -> None:
        self.armed = armed if armed is not None else []

    def take(self, kind: str, *names: str, gpu: str = "", on: str = "") -> Fault | None:
        """The first armed fault that fits a machine of these names, counted down; None where there is none."""
        for fault in self.armed:
            if fault.kind == kind and matches(fault, *names) and _fits(fault, gpu, on):
                fault.times -= 1
                if fault.times <= 0:
                    self.armed.remove(fault)
                return fault
        return None

    def take_for_machine(self, *names: str) -> list[Fault]:
        """A copy of each fault that a machine of this id and name is rented with, counted down."""
        taken: list[Fault] = []
        for fault in list(self.armed):
            if fault.kind in MACHINE_KINDS and matches(fault, *names):
                taken.append(fault.model_copy())
                fault.times = 0 if fault.kind == "delete_fails" else fault.times - 1
                if fault.times <= 0:
                    self.armed.remove(fault)
        return taken


def matches(fault: Fault, *names: str) -> bool:
    """Whether a fault is meant for a machine of this id or name."""
    return not fault.machine or any(fnmatchcase(name, fault.machine) for name in names)


def _fits(fault: Fault, gpu: str, on: str) -> bool:
    if fault.kind == "status":
        return fault.on in (on, "any")
    return fault.kind != "no_capacity" or fnmatchcase(gpu, fault.gpu)
