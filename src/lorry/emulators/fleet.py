"""All machines of one emulated cloud: rented, booted, stopped, billed and ended, on disk before it happens."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import socket
import time
import traceback
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

from lorry.emulators import account as accounts
from lorry.emulators import faulty
from lorry.emulators.account import Account
from lorry.emulators.faults import Faults
from lorry.emulators.machine import image
from lorry.emulators.machine.computer import Computer
from lorry.emulators.machine.image import Setup
from lorry.emulators.machine.lines import SystemLog
from lorry.emulators.machine.slow import SlowNetwork
from lorry.emulators.rental import Rental, State

_OVERDUE = 8.0
"""Seconds after which a machine that was told to end is killed from outside."""
_PORTS = (10_000, 32_000)
"""Below the ports that systems give to outgoing connections."""
Dress = Callable[[Rental], Mapping[str, str]]
"""What a cloud gives to the first process of each machine: its id, its key, its address."""


class Fleet:
    """Machines by id, ended ones among them. Everything runs in one event loop; methods that are not `async` return at once.

    A new fleet on the folder of one whose process died takes its machines over, as they are.
    """

    def __init__(self, home: Path, account: Account, dress: Dress, now: Callable[[], float] = time.time) -> None:
        self.home, self.account, self.now = home, account, now
        self.faults = Faults(account.faults)
        self._dress = dress
        self._image = home / "image"
        image.write_image(self._image)
        for name in ("machines", "rentals", "volumes"):
            (home / name).mkdir(exist_ok=True)
        self.rentals: dict[str, Rental] = {}
        self._computers: dict[str, Computer] = {}
        self._networks: dict[str, SlowNetwork] = {}
        self._busy: dict[str, asyncio.Task[None]] = {}
        self.looked_at: dict[str, float] = {}
        """When each machine's events were read last, for faults that wait for a step."""
        self._told: dict[str, float] = {}
        self._money_looked_at = 0.0
        for file in (home / "rentals").glob("*.json"):
            rental = Rental.model_validate_json(file.read_bytes())
            self.rentals[rental.id] = rental
            if rental.is_there or (home / "machines" / rental.id).is_dir():
                self._computers[rental.id] = Computer(home / "machines" / rental.id, self._image)

    def find(self, machine_id: str) -> Rental | None:
        """The machine of this id, if the cloud still knows it."""
        rental = self.rentals.get(machine_id)
        return rental if rental is not None and rental.is_there else None

    def there(self) -> list[Rental]:
        """Every machine that the cloud still knows, the oldest first."""
        return sorted((one for one in self.rentals.values() if one.is_there), key=lambda one: one.created)

    def computer(self, rental: Rental) -> Computer:
        """The processes and files of a machine that has not been removed."""
        return self._computers[rental.id]

    def is_over(self, rental: Rental) -> bool:
        """Whether nothing of a machine is left here: no process, no disk."""
        return rental.id not in self._computers

    def rent(self, rental: Rental) -> None:
        """Takes a new machine in: written down first, booted by and by."""
        rental.port = self.free_port()
        rental.faults += self.faults.take_for_machine(rental.id, rental.name)
        self._computers[rental.id] = Computer(self.home / "machines" / rental.id, self._image)
        self.become(rental, "waiting", "rented by user")
        self.save()

    def start(self, rental: Rental) -> None:
        """Starts a stopped or broken machine again: on an empty disk, with its volume, at another port."""
        old, rental.port = rental.port, self.free_port()
        rental.inner_port = 0
        self._close_network(rental)
        faulty.keep_telling(rental, old, self.now())
        self.become(rental, "waiting", "started by user")

    def restart(self, rental: Rental) -> None:
        """Restarts a machine in place: on an empty disk."""
        if rental.fault("port_changed_after_restart"):
            old, rental.port = rental.port, self.free_port()
            faulty.keep_telling(rental, old, self.now())
        rental.reboots = True
        self.log(rental, "restarting container")
        self._end_processes(rental)
        self.write(rental)

    def stop(self, rental: Rental, why: str = "stopped by user") -> None:
        """Stops a machine: its disk goes, its volume stays and is billed."""
        self.become(rental, "stopped", why)
        self._end_processes(rental)

    def end(self, rental: Rental, why: str = "terminated by user") -> None:
        """Ends a machine for good: the cloud knows it no more; its processes have five seconds to leave."""
        rental.ended = self.now()
        self.become(rental, "ended", why)
        self._end_processes(rental)

    async def lose(self, rental: Rental, state: State, why: str) -> None:
        """Takes a machine's host away: no process of it is left when this returns."""
        if state != rental.state:
            rental.ended = self.now() if state == "ended" else None
            self.become(rental, state, why)
        rental.why = why
        self._close_network(rental)
        await self._computers[rental.id].kill()
        self.write(rental)

    def become(self, rental: Rental, state: State, why: str) -> None:
        """Writes a new state down, and bills accordingly from now on."""
        now = self.now()
        rental.state, rental.state_since, rental.why, rental.reboots = state, now, why, False
        rental.bill(now)
        self.write(rental)
        self.log(rental, why)

    async def tick(self) -> None:
        """Moves each machine along by what the time and its processes say. A machine in trouble holds no other up."""
        for rental in list(self.rentals.values()):
            if rental.id in self._computers and rental.id not in self._busy:
                await self._move(rental)
        now = self.now()
        if now - self._money_looked_at >= 1.0:
            self._money_looked_at = now
            self._look_at_money()

    def _apart(self, rental: Rental, work: Coroutine[Any, Any, None]) -> None:
        """Does what may take long beside everything else; meanwhile the machine is not moved along."""

        def done(task: asyncio.Task[None]) -> None:
            self._busy.pop(rental.id, None)
            if not task.cancelled() and (error := task.exception()) is not None:
                traceback.print_exception(error)

        self._busy[rental.id] = task = asyncio.create_task(work)
        task.add_done_callback(done)

    async def _move(self, rental: Rental) -> None:
        computer = self._computers[rental.id]
        if rental.state in ("stopped", "ended"):
            self._see_end(rental, computer)
        elif rental.state in ("waiting", "booting"):
            await self._boot(rental, computer)
        elif rental.state == "running":
            await self._watch(rental, computer)

    def _see_end(self, rental: Rental, computer: Computer) -> None:
        if computer.is_up():
            if self.now() - self._told.get(rental.id, rental.state_since) > _OVERDUE:
                self._apart(rental, computer.kill())
            return
        self._close_network(rental)
        if rental.state == "ended":
            self._apart(rental, self._remove(rental, computer))

    async def _remove(self, rental: Rental, computer: Computer) -> None:
        await computer.sweep()
        await asyncio.to_thread(computer.remove)
        del self._computers[rental.id]
        self._told.pop(rental.id, None)

    async def _boot(self, rental: Rental, computer: Computer) -> None:
        waited, boot = self.now() - rental.state_since, self.account.settings.boot_seconds
        if rental.state == "waiting" and waited >= boot * 0.4:
            self._keep_time(rental, "booting", "pulling image")
        elif rental.state == "booting" and waited >= boot * 0.6 and not computer.is_up():
            if rental.fault("never_ready"):
                return
            broken = rental.fault("image_broken")
            if broken is not None and broken.how != "loop":
                self.become(rental, "broken", "failed to pull image: manifest unknown")
                return
            await self._power_on(rental, computer)

    async def _power_on(self, rental: Rental, computer: Computer) -> None:
        before = (rental.state, rental.state_since)
        await faulty.before_start(self, rental)
        if before != (rental.state, rental.state_since):
            return  # it was stopped or ended meanwhile
        rental.starts += 1
        rental.started = self.now()
        self._keep_time(rental, "running", "container started")
        computer.start(self._setup(rental))

    async def _watch(self, rental: Rental, computer: Computer) -> None:
        if not computer.is_up():
            if rental.reboots:
                rental.reboots = False
                await self._power_on(rental, computer)
            elif not faulty.is_lost(rental):
                self._apart(rental, self.lose(rental, "broken", "host lost"))
            return
        if rental.faults or rental.refused_until:
            self._apart(rental, faulty.happen(self, rental))

    def _setup(self, rental: Rental) -> Setup:
        loop = rental.fault("image_broken")
        broken = ["sh", "-c", "echo 'exec /start.sh: exec format error' >&2; exit 126"]
        settings = self.account.settings
        return Setup(
            words=broken if loop else rental.words,
            port=rental.inner_port or rental.port,
            environment={**rental.environment, **self._dress(rental)},
            everywhere=settings.environment,
            gpu=faulty.gpu_of(rental),
            mount=rental.mount,
            volume=self.volume_of(rental),
            keeps_disk=rental.keeps_disk,
            ssh_delay=settings.ssh_seconds,
        )

    def volume_of(self, rental: Rental) -> Path | None:
        """The folder that is mounted in a machine: a network volume, its own, or none."""
        if rental.volume:
            return self.home / "volumes" / rental.volume
        return self.home / "machines" / rental.id / "volume" if rental.mount else None

    def _keep_time(self, rental: Rental, state: State, why: str) -> None:
        """A new state of the same price."""
        rental.state, rental.state_since, rental.why = state, self.now(), why
        self.write(rental)
        self.log(rental, why)

    def _end_processes(self, rental: Rental) -> None:
        self._told[rental.id] = self.now()
        self._computers[rental.id].terminate()

    # What belongs to the account.

    def spent(self) -> float:
        """US dollars that everything has cost up to now."""
        now = self.now()
        machines = sum(rental.usd(now) for rental in self.rentals.values())
        return machines + sum(s.usd(now) for volume in self.account.volumes.values() for s in volume.spans)

    def balance(self) -> float:
        """US dollars that are left."""
        return self.account.credited - self.spent()

    def set_balance(self, usd: float) -> None:
        """Makes it so much from now on."""
        self.account.credited = usd + self.spent()
        self.save()
        self._look_at_money()

    def _look_at_money(self) -> None:
        """Without money all machines are stopped, and those that keep nothing then ended (RunPod's billing page, 2026)."""
        if self.balance() > 0:
            return
        for rental in self.there():
            if not (rental.volume or rental.keeps_disk):
                self.end(rental, "terminated: insufficient balance")
            elif rental.state != "stopped":
                self.stop(rental, "stopped: insufficient balance")

    def rented_gpus(self, gpu_id: str) -> int:
        """How many GPUs of a type are held now."""
        held = [one.gpu for one in self.there() if one.takes_capacity and one.gpu]
        return sum(int(gpu["count"]) for gpu in held if gpu["id"] == gpu_id)

    def free_port(self) -> int:
        """A port of loopback that nobody has."""
        taken = {port for one in self.there() for port in (one.port, one.inner_port)}
        while True:
            port = random.randrange(*_PORTS)  # noqa: S311 - no secret
            if port in taken:
                continue
            with contextlib.suppress(OSError), socket.socket() as tried:
                tried.bind(("127.0.0.1", port))
                return port

    # What lies on disk.

    def write(self, rental: Rental) -> None:
        """Writes a machine down."""
        self.rentals[rental.id] = rental
        accounts.write(self.home / "rentals" / f"{rental.id}.json", rental)

    def save(self) -> None:
        """Writes the account down."""
        accounts.write(self.home / "account.json", self.account)

    def log(self, rental: Rental, line: str) -> None:
        """Adds a line to what the cloud itself logs of a machine."""
        if rental.id in self._computers:
            SystemLog(self.home / "machines" / rental.id / "log").write(line, self.now())

    # The network before a machine.

    async def slow_down(self, rental: Rental, rate: float) -> None:
        """Puts a slow network before a machine that is about to start, or runs."""
        if rental.id in self._networks:
            return
        if not rental.inner_port:
            rental.inner_port = self.free_port()
            if rental.state == "running":
                self._computers[rental.id].move_ssh(rental.inner_port)
        network = SlowNetwork(rental.port, rental.inner_port, rate)
        await network.open()
        self._networks[rental.id] = network
        self.write(rental)

    def _close_network(self, rental: Rental) -> None:
        network = self._networks.pop(rental.id, None)
        if network is not None:
            network.close()

    async def close(self, *, keep_machines: bool = False) -> None:
        """Ends every machine's processes, unless they are kept, and returns when they have ended. The account stays."""
        for rental in list(self._networks):
            self._close_network(self.rentals[rental])
        if keep_machines:
            return
        for rental in self.there():
            self.end(rental, "terminated: the emulator ends")
        until = time.monotonic() + 30
        while self._computers and time.monotonic() < until:
            await self.tick()
            await asyncio.sleep(0.05)

    def remove_volume(self, volume_id: str) -> None:
        """Deletes a network volume's files."""
        shutil.rmtree(self.home / "volumes" / volume_id, ignore_errors=True)
