"""A machine for tests of rented runs: a real SSH server with a home of its own, whose trainer follows a script."""

from __future__ import annotations

import asyncio
import signal
import sys
import sysconfig
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import psutil

import sshd
import tiny_runs
from lorry.compute import ssh
from lorry.compute.allowance import Allowance
from lorry.compute.control.at_home import RunAtHome
from lorry.compute.control.attempt import Attempt, Patience
from lorry.compute.lease import Lease, begun, drafted, name_for
from lorry.compute.providers._base import Order, Provider, Wanted
from lorry.plan.offers import Offer
from lorry.plugins import make
from lorry.track.events import Event, read
from lorry.track.folder import home
from lorry.track.leases import Leases
from lorry.track.run import Run

SCRIPTED = Path(__file__).parent / "scripted"
QUICK = Patience(ready=20, silence=20, pause=0.3, tick=0.1)


class Host:
    """The machine, as the test sees it from inside."""

    def __init__(self, folder: Path, server: sshd.Sshd) -> None:
        self.folder = folder
        self.server = server

    @property
    def name(self) -> str:
        return f"{self.server.address.user}@127.0.0.1:{self.server.port}"

    def agent(self) -> psutil.Process:
        return psutil.Process(int((self.folder / ".lorry" / "agent.pid").read_text().split()[0]))

    def processes(self) -> list[psutil.Process]:
        """Every process whose home is this machine."""
        found: list[psutil.Process] = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("HOME") == str(self.folder):
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return found

    def kill(self) -> None:
        for process in self.processes():
            try:
                process.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                continue


@contextmanager
def host(folder: Path, *, scripted: bool = True, pace: float = 0.02, best: int = 0) -> Generator[Host]:
    """A host for as long as the block runs; nothing of it is left after. `best` is the best step of a scripted trainer."""
    root = folder / "machine"
    (root / "bin").mkdir(parents=True)
    image(root, scripted=scripted)
    session = (
        f"export HOME={root} PATH={root}/bin:$PATH LORRY_SCRIPTED_STEP={pace} LORRY_SCRIPTED_BEST={best}\n"
        'cd\nexec sh -c "$SSH_ORIGINAL_COMMAND"\n'
    )
    _script(root / "session", session)
    key = ssh.installation_key(home())
    with sshd.running(folder / "sshd", key.public, extra=f"ForceCommand {root}/session\n") as server:
        found = Host(root, server)
        try:
            yield found
        finally:
            found.kill()


def image(root: Path, *, scripted: bool) -> Path:
    """A Python as images bring it, with all that this one has; the path of its program.

    It is a virtual environment made by hand, which takes no second: `python -m venv` takes several.
    """
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = root / "lib" / version / "site-packages"
    site.mkdir(parents=True)
    base = Path(sys.base_prefix) / "bin" / version
    (root / "pyvenv.cfg").write_text(f"home = {base.parent}\ninclude-system-site-packages = false\n")
    (root / "bin" / "python3").symlink_to(base)
    first = f"import sys; sys.path.insert(0, {str(SCRIPTED)!r})\n" if scripted else ""
    (site / "image.pth").write_text(f"{first}{sysconfig.get_path('purelib')}\n")
    return root / "bin" / "python3"


def _script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}")
    path.chmod(0o755)


def begin(folder: Path, machine: Host, *, steps: int = 30, every: int = 5, **sections: Any) -> Run:
    """A run that is to train on the host."""
    compute = {"on": [f"ssh:{machine.name}"], "gpu": ["cpu"], **sections.pop("compute", {})}
    train = {"steps": steps, "save_every": every, **sections.pop("train", {})}
    return tiny_runs.begin(tiny_runs.recipe(folder, compute=compute, train=train, **sections))


class Controller:
    """One controller's view of a run: what it shows, and an attempt on the host."""

    def __init__(self, run: Run, *, patience: Patience = QUICK) -> None:
        self.run = run
        self.shown: list[Event] = []
        self.watch: Callable[[Event], None] = lambda _event: None
        self.patience = patience
        self.home = RunAtHome(run.folder, self._show)
        self.provider = cast("Provider", make("providers", self.home.recipe.compute.on[0]))

    def _show(self, event: Event) -> None:
        self.shown.append(event)
        self.watch(event)

    async def lease(self) -> tuple[Lease, Offer]:
        """The run's lease on the host: the one that is open, or a new one."""
        leases = Leases.open()
        open_rows = [row for row in leases.of_run(self.run.id) if row.is_open]
        offers = await self.provider.offers(Wanted())
        if open_rows:
            host = open_rows[0].machine_id
            offer = Offer("ssh", host, None, 0, tiny_runs.FREE, key=host)
            return Lease(open_rows[0], self.provider, leases), offer
        order = Order(name_for(self.run.id), offers[0], "")
        lease = begun(drafted(self.run.id, 1, order, self.provider), self.provider, leases)
        await lease.ask(order)
        return lease, offers[0]

    async def attempt(self) -> Attempt:
        lease, offer = await self.lease()
        return Attempt(
            self.home, lease, offer, Allowance(3600.0, "an hour"), ssh.installation_key(home()), self.patience
        )


def carry_out(controller: Controller, *, fetch: bool = True) -> Any:
    """One attempt to its end, with everything fetched."""

    async def work() -> Any:
        attempt = await controller.attempt()
        try:
            result = await attempt.carry_out()
            if fetch and result.event is not None:
                await attempt.fetch()
            return result
        finally:
            await attempt.close()

    return asyncio.run(work())


def steps_of(run: Run) -> list[int]:
    """The steps that the run's events at home tell of, in order."""
    return [event.step or 0 for event in read(run.folder.events) if event.kind == "step"]


def numbers_of(run: Run) -> list[int]:
    return [event.seq for event in read(run.folder.events)]
