"""Many rented runs at once under one controller, with what their plans say done to them, and killed servers besides."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import httpx
import psutil

import emulated_runs as er
import tiny_runs
from emulated_runs import Cloud
from lorry.compute.control.at_home import ask
from lorry.emulators.control_api import Machine
from lorry.emulators.faults import Kind
from lorry.emulators.machine import processes
from lorry.errors import LorryError
from lorry.track.events import ENDINGS, Event, Tail
from lorry.track.folder import home
from lorry.track.run import Run
from lorry.track.store import Store
from remote_plans import Blow, Plan

CONTROLLER = Path(__file__).parent / "quick_controller.py"
GPUS = ["RTX 4090", "RTX 3090", "RTX A5000", "L4", "A40"]
COPYING = 15.0
"""Seconds in which a checkpoint that was told of is home, while a controller is there."""


@dataclass
class Under:
    """A run that is under way, or over."""

    plan: Plan
    run: Run
    began: float
    tail: Tail = field(init=False)
    step: int = 0
    waiting: list[Blow] = field(init=False)
    events: list[Event] = field(default_factory=list[Event])
    ended: float | None = None

    def __post_init__(self) -> None:
        self.tail = Tail(self.run.folder.events)
        self.waiting = sorted(
            (blow for blow in self.plan.blows if blow.step is not None), key=lambda one: one.step or 0
        )

    def look(self) -> None:
        """Reads on in its events."""
        for event in self.tail.read():
            self.events.append(event)
            if event.kind == "step":
                self.step = max(self.step, event.step or 0)
            if event.kind in ENDINGS:
                self.ended = time.monotonic()


@dataclass
class Campaign:
    """Carries plans out, so many at once, on clouds that are there."""

    folder: Path
    clouds: dict[str, Cloud]
    seed: int
    at_once: int = 8
    controller_lives: tuple[float, float] = (12.0, 40.0)
    """Seconds, least and most, after which the controller is killed and another one started."""
    server_lives: tuple[float, float] = (40.0, 120.0)
    """The same for the emulator's server."""
    killed: dict[str, int] = field(default_factory=lambda: {"controller": 0, "server": 0})
    down: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    """Times without a controller, in seconds since 1970."""

    def __post_init__(self) -> None:
        self.draw = random.Random(self.seed)
        self.controller: subprocess.Popen[bytes] | None = None
        self.dies = self.server_dies = 0.0

    def carry_out(self, plans: list[Plan], *, seconds: float) -> list[Under]:
        """Every run to its end, or as far as it came in so many seconds."""
        until = time.monotonic() + seconds
        left, under = list(plans), list[Under]()
        self._start_controller()
        self.server_dies = time.monotonic() + self.draw.uniform(*self.server_lives)
        try:
            while time.monotonic() < until and (left or any(one.ended is None for one in under)):
                busy = [one for one in under if one.ended is None]
                if left and len(busy) < self.at_once:
                    under.append(self._begun(left.pop(0)))
                for one in busy:
                    one.look()
                    self._strike(one)
                self._kill_servers()
                time.sleep(0.05)
            self._let_settle()
        finally:
            self._end_controller()
        return under

    def _begun(self, plan: Plan) -> Under:
        """A run that is ready to be controlled, with what is armed beforehand."""
        run = tiny_runs.begin(self.recipe(plan))
        Store.open().update(run.id, status="running")  # this process has made it and lives, and will not control it
        for blow in plan.blows:
            if blow.step is None:
                self.clouds[plan.cloud].control.arm(
                    cast("Kind", blow.kind), machine=f"lorry-*-{run.id}", **blow.options
                )
        return Under(plan, run, time.monotonic())

    def recipe(self, plan: Plan) -> dict[str, Any]:
        """What the run of a plan is begun with."""
        compute = {"on": [plan.cloud], "gpu": GPUS, "wait_hours": 0.2, "interruptible": "prefer"}
        limits: dict[str, Any] = {"hours": plan.hours} if plan.hours else {"usd": 0.5}
        train: dict[str, Any] = {"steps": plan.steps, "save_every": plan.every}
        sections: dict[str, Any] = {"compute": compute, "train": train, "budget": limits}
        if plan.trains:
            train |= {"eval_every": 7, "learning_rate": 0.02, "micro_batch": 3, "accumulation": 2}
            sections["lora"] = {"dropout": 0.1}
        return {"name": plan.name, **tiny_runs.recipe(self.folder, **sections)}

    # --- what is done to them

    def _strike(self, one: Under) -> None:
        """Does what is due to a run, once it has a machine on which that can be done."""
        while one.waiting and one.ended is None and one.step >= (one.waiting[0].step or 0):
            blow = one.waiting[0]
            if blow.kind in ("stop", "now"):
                ask(one.run.folder, blow.kind)
            else:
                machines = [found for found in self._cloud(one).of_run(one.run.id) if found.state == "running"]
                if not machines or not self._hit(one, machines[-1], blow):
                    return
            one.waiting.pop(0)

    def _hit(self, one: Under, machine: Machine, blow: Blow) -> bool:
        """Whether it could be done."""
        cloud = self._cloud(one)
        if blow.kind == "restart":
            return _restart(cloud, machine)
        if not blow.kind.startswith(("kill-", "hang")):
            cloud.control.arm(cast("Kind", blow.kind), machine=machine.id, **blow.options)
            return True
        with suppress(psutil.Error, OSError, ValueError):
            if blow.kind == "kill-machine":
                er.kill(cloud.init(machine))
                return True
            agent = cloud.agent(machine)
            below = agent.children() if agent is not None else []
            if agent is None or not below:
                return False
            for process in {"kill-agent": [agent], "kill-trainer": below}.get(blow.kind, [agent, *below]):
                process.send_signal(signal.SIGSTOP if blow.kind == "hang" else signal.SIGKILL)
            return True
        return False

    def _cloud(self, one: Under) -> Cloud:
        return self.clouds[one.plan.cloud]

    # --- the servers

    def _kill_servers(self) -> None:
        now = time.monotonic()
        if now >= self.dies:
            self._end_controller()
            self.killed["controller"] += 1
            self._start_controller(pause=self.draw.choice((0.0, 0.0, 1.0, 4.0)))
        if now >= self.server_dies:
            self.server_dies = now + self.draw.uniform(*self.server_lives)
            self.killed["server"] += 1
            cloud = self.clouds[self.draw.choice(sorted(self.clouds))]
            cloud.kill()
            time.sleep(self.draw.choice((0.0, 0.5, 2.0)))
            cloud.start()

    def _start_controller(self, pause: float = 0.0) -> None:
        since = time.time()
        time.sleep(pause)
        with (self.folder / "controller.log").open("ab") as log:
            self.controller = subprocess.Popen(
                [sys.executable, str(CONTROLLER)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self.down.append((since, time.time()))
        self.dies = time.monotonic() + self.draw.uniform(*self.controller_lives)

    def _end_controller(self) -> None:
        if self.controller is not None:
            self.controller.kill()
            self.controller.wait()

    def _let_settle(self) -> None:
        """Gives the last runs' machines the time that they have to leave."""
        until = time.monotonic() + 30
        while time.monotonic() < until and any(cloud.control.left() for cloud in self.clouds.values()):
            time.sleep(0.2)


def _restart(cloud: Cloud, machine: Machine) -> bool:
    """A person restarts a pod; its disk is empty then."""
    if cloud.name != "runpod":
        return True
    headers = {"Authorization": f"Bearer {cloud.emulator.key}", "User-Agent": "tests"}
    url = f"{cloud.emulator.url}/v2/pods/{machine.id}/action"
    return httpx.post(url, json={"action": "restart"}, headers=headers, trust_env=False).is_success


# --- what must hold


def faults_of(campaign: Campaign, under: list[Under], calm: bytes = b"") -> list[str]:
    """Everything that is not as it must be, in words; empty where all is."""
    found = [f"{one.plan}\n    {told}" for one in under for told in _faults(campaign, one, calm)]
    for cloud in campaign.clouds.values():
        left = processes.residents(cloud.home / "machines")
        found += [f"processes are left on {cloud.name}: {left}"] if left else []
        found += [f"a machine is left: {one}" for one in cloud.control.left()]
    here = [one for one in _ours() if one.pid != os.getpid()]
    return found + [f"a process is left here: {one}" for one in here]


def _faults(campaign: Campaign, one: Under, calm: bytes) -> Iterator[str]:
    if one.ended is None:
        yield f"not over after {time.monotonic() - one.began:.0f} s: {_last(one)}"
        return
    try:
        now = er.must_be_over(one.run, campaign.clouds[one.plan.cloud], one.plan.expected)
        if one.plan.expected == "finished":
            last = max(now.records) if one.plan.hours else one.plan.steps
            missing = sorted({*range(1, last + 1)} - {*now.records} - untold(one))
            assert not missing, f"steps are missing: {missing}"
            if one.plan.trains:
                assert (one.run.adapter / "adapter_model.safetensors").read_bytes() == calm, "another adapter"
            else:
                assert er.adapter_of(one.run) == last, "another adapter"
    except (AssertionError, OSError, LorryError) as error:
        yield f"{type(error).__name__}: {error}"
    yield from lost_too_much(one, campaign.down)


def untold(one: Under) -> set[int]:
    """Steps that were made while the agent was being killed: the trainer saves what nobody is left to tell of."""
    found: set[int] = set()
    step, kills = 0, sum(blow.kind == "kill-agent" for blow in one.plan.blows)
    for event in one.events:
        if event.kind == "step":
            step = event.step or 0
        elif event.kind == "started" and kills and 0 < int(event.data["from_step"]) - step <= 2:
            found |= {*range(step + 1, int(event.data["from_step"]) + 1)}
    return found


def lost_too_much(one: Under, down: list[tuple[float, float]]) -> Iterator[str]:
    """Where more was trained again than since the last checkpoint that could have been copied."""
    for lost, since in losses(one):
        seen = since
        for start, end in down:
            if start <= since + COPYING and end >= since - 2 * COPYING:
                seen -= end - start + COPYING  # a controller that has just begun has to connect first
        could = max(
            (e.step or 0 for e in one.events if e.kind == "saved" and e.seq < lost.seq and e.at <= seen - COPYING),
            default=0,
        )
        if lost.data["from_step"] < could:
            yield f"went on from step {lost.data['from_step']}, although step {could} could have been home"


def losses(one: Under) -> list[tuple[Event, float]]:
    """Each time that training began again, with when the last step before it was made."""
    found: list[tuple[Event, float]] = []
    at = 0.0
    for event in one.events:
        if event.kind == "step":
            at = event.at
        elif event.kind == "started" and at:
            found.append((event, at))
    return found


def trained_again(one: Under) -> list[int]:
    """Steps that each interruption cost."""
    found: list[int] = []
    step = 0
    for event in one.events:
        if event.kind == "step":
            step = max(step, event.step or 0)
        elif event.kind == "started" and step:
            found.append(max(0, step - int(event.data["from_step"])))
            step = int(event.data["from_step"])
    return found


def _last(one: Under) -> str:
    return "; ".join(f"{event.kind} {event.data}"[:200] for event in one.events if event.kind != "step")[-800:]


def _ours() -> list[psutil.Process]:
    """Processes of this computer that work in this home of lorry's, machines left out."""
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.environ().get("LORRY_HOME") == str(home()) and "emulate" not in process.cmdline():
                found.append(process)
    return found


def told(campaign: Campaign, under: list[Under], seconds: float) -> str:
    """What was measured, as text."""
    lost = [steps for one in under for steps in trained_again(one)]
    machines = [one for cloud in campaign.clouds.values() for one in cloud.control.machines()]
    late = [_late(one) for one in under]
    lines = [
        f"seed {campaign.seed}: {len(under)} runs in {seconds:.0f} s, {sum(one.ended is not None for one in under)} over",
        f"killed: controller {campaign.killed['controller']}, emulator's server {campaign.killed['server']}",
        f"machines rented: {len(machines)}, billed {sum(one.usd for one in machines):.4f} USD",
        f"interruptions: {len(lost)}, steps trained again: {sorted(lost)}",
        f"latest end after a deadline: {max(late, default=0):.1f} s",
    ]
    return "\n".join([*lines, *(f"  {one.plan} -> {_ended(one)}" for one in under)])


def _ended(one: Under) -> str:
    last = next((event.kind for event in reversed(one.events) if event.kind in ENDINGS), "not over")
    return f"{last} in {(one.ended or time.monotonic()) - one.began:.0f} s, lost: {', '.join(er.lost(one.run)) or 'nothing'}"


def _late(one: Under) -> float:
    rows = [row for row in er.leases(one.run) if row.ended_at and row.deadline]
    return max((row.ended_at - row.deadline for row in rows if row.ended_at and row.deadline), default=-9999.0)
