"""What goes wrong with a rented run, drawn from a seed: a plan says what happens when, and so how the run has to end."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Options = Mapping[str, Any]


@dataclass(frozen=True)
class Blow:
    """One thing that goes wrong."""

    kind: str
    """A fault of the emulator, or what the campaign itself does: `kill-agent`, `kill-trainer`, `kill-machine`, `hang`,
    `restart`, `stop`, `now`."""
    step: int | None = None
    """Not before this step is told at home; None for what is armed before a machine is asked for."""
    options: Options = field(default_factory=dict[str, Any])

    def __str__(self) -> str:
        given = "".join(f" {name}={value}" for name, value in self.options.items())
        return f"{self.kind}{given}{'' if self.step is None else f' @{self.step}'}"


BEFORE: tuple[tuple[int, str, Options], ...] = (
    (4, "no_capacity", {}),
    (2, "status", {"status": 403}),
    (3, "status", {"status": 429, "retry_after": 2}),
    (4, "created_but_500", {}),
    (1, "status", {"status": 500}),
    (3, "never_ready", {}),
    (3, "not_as_sold", {}),
    (2, "udp_port_first", {}),
    (3, "ssh_refused", {"seconds": 3}),
    (2, "slow_network", {"rate": 300_000}),
    (4, "delete_fails", {"times": 2}),
)
"""How likely, and what: before a machine is asked for. Each leaves the run able to finish."""
DURING: tuple[tuple[int, str, Options], ...] = (
    (6, "interrupt", {}),
    (4, "host_gone", {"how": "error"}),
    (2, "host_gone", {"how": "running"}),
    (4, "vanish", {}),
    (4, "cut_connections", {}),
    (3, "ssh_refused", {"seconds": 4}),
    (6, "kill-agent", {}),
    (5, "kill-trainer", {}),
    (5, "kill-machine", {}),
    (1, "restart", {}),
)
"""The same while it trains."""
FATAL: tuple[tuple[str, str, Options], ...] = (
    ("failed", "status", {"status": 402}),
    ("failed", "status", {"status": 422}),
    ("failed", "image_broken", {}),
    ("stopped", "stop", {}),
    ("stopped", "now", {}),
)
"""How it has to end then, and what does that."""


@dataclass(frozen=True)
class Plan:
    """One run, and what happens to it."""

    name: str
    blows: tuple[Blow, ...] = ()
    expected: str = "finished"
    cloud: str = "runpod"
    steps: int = 150
    every: int = 5
    hours: float | None = None
    """A limit that ends its training, or its machine."""
    trains: bool = False
    """Whether the trainer is real."""

    def __str__(self) -> str:
        told = ", ".join(map(str, self.blows)) or "nothing"
        return f"{self.name} {self.cloud} {self.steps} steps, {self.expected}: {told}"


def drawn(seed: int, number: int, *, clouds: tuple[str, ...] = ("runpod",), longest: int = 200) -> Plan:
    """The plan of one run; the same for the same seed and number."""
    draw = random.Random(f"{seed}/{number}")
    steps = draw.randrange(longest // 2, longest)
    blows = [_one(draw, BEFORE) for _ in range(draw.choice((0, 0, 1, 1, 2)))]
    blows += [_one(draw, DURING, draw.randrange(3, steps + 1)) for _ in range(draw.choice((0, 1, 1, 2, 2, 3)))]
    expected = "finished"
    if draw.random() < 0.12:
        expected, kind, options = draw.choice(FATAL)
        blows.append(Blow(kind, None if expected == "failed" else draw.randrange(3, steps - 40), options))
    name = f"c{number:03d}"
    return Plan(name, tuple(blows), expected, cloud=draw.choice(clouds), steps=steps)


def limited(seed: int, number: int, *, hangs: bool) -> Plan:
    """A run whose time is up before its training is: the trainer sees it, or hangs, and then the controller does."""
    draw = random.Random(f"{seed}/{number}/limited")
    blows = (Blow("hang", draw.randrange(20, 200)),) if hangs else ()
    name = f"{'h' if hangs else 'l'}{number:03d}"
    return Plan(name, blows, "stopped" if hangs else "finished", steps=100_000, hours=draw.uniform(128, 140) / 3600)


def real(seed: int, number: int, steps: int = 200) -> Plan:
    """A run that trains a tiny model, and is disturbed while it does."""
    draw = random.Random(f"{seed}/{number}/real")
    blows = [_one(draw, DURING, draw.randrange(1, steps + 1)) for _ in range(draw.choice((1, 2, 2, 3)))]
    return Plan(f"r{number:03d}", tuple(blows), steps=steps, every=5, trains=True)


def _one(draw: random.Random, table: tuple[tuple[int, str, Options], ...], step: int | None = None) -> Blow:
    _, kind, options = draw.choices(table, [weight for weight, _, _ in table])[0]
    return Blow(kind, step, options)
