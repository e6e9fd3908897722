"""One emulated machine as processes and files: started, ended, lost, cut off. It knows nothing of clouds."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from lorry.emulators.machine import image, init, processes
from lorry.emulators.machine.image import Setup

_INIT = Path(init.__file__)


class Computer:
    """A machine's folder and its first process. The processes outlive the emulator; another one takes them over."""

    def __init__(self, folder: Path, image_folder: Path) -> None:
        self.folder = folder
        self._image = image_folder
        self._child: subprocess.Popen[bytes] | None = None
        self._left_nothing = False
        for name in ("run", "log", "volume", "disk"):
            (folder / name).mkdir(parents=True, exist_ok=True)

    def start(self, setup: Setup) -> None:
        """Starts it on an empty disk; returns at once."""
        self._left_nothing = False
        words, environment = image.write_machine(self.folder, self._image, setup)
        command = [sys.executable, "-I", "-S", str(_INIT), str(self.folder), *words]
        with (self.folder / "log" / "init.log").open("ab") as errors:
            self._child = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
            )

    def is_up(self) -> bool:
        """Whether its first process runs, be it a child of this process or one that an earlier emulator started."""
        if self._child is not None:
            code = self._child.poll()
            if code is None:
                return True
            self._left_nothing = code == 0 and sys.platform == "linux"
            self._child = None
        return self._is_locked()

    def terminate(self) -> None:
        """Asks it to end: SIGTERM to all, SIGKILL five seconds later. Returns at once."""
        self._tell(signal.SIGTERM)

    async def kill(self) -> None:
        """Ends every process of it now, the first one included."""
        self._tell(signal.SIGKILL)
        await asyncio.to_thread(processes.end, self.folder)

    def refuse_ssh(self, refused: bool) -> None:
        """Ends the SSH server and keeps it away, or lets it start again; sessions go on."""
        if refused:
            (self.folder / "run" / "refuse").touch()
            self._end_listener()
        else:
            (self.folder / "run" / "refuse").unlink(missing_ok=True)
            self._tell(signal.SIGUSR1)

    def move_ssh(self, port: int) -> None:
        """Lets the SSH server listen on another port; sessions go on."""
        (self.folder / "run" / "port").write_text(f"{port}\n", "ascii")
        self._end_listener()
        self._tell(signal.SIGUSR1)

    async def sweep(self) -> None:
        """Ends what may be left of a machine whose first process has ended, unless that one saw to it."""
        if not self._left_nothing:
            await asyncio.to_thread(processes.end, self.folder)

    async def cut(self) -> None:
        """Cuts every SSH connection; what runs detached goes on."""
        for pid in await asyncio.to_thread(processes.sessions, self.folder, self._listener()):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)

    def remove(self) -> None:
        """Deletes its disks. Only for a machine that is not up."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _is_locked(self) -> bool:
        try:
            lock = os.open(self.folder / "run" / "lock", os.O_RDWR)
        except OSError:
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(lock)
        return False

    def _tell(self, number: signal.Signals) -> None:
        said = _number_in(self.folder / "run" / "init.pid")
        pid = self._child.pid if self._child is not None else said
        if number == signal.SIGUSR1 and pid != said:
            return  # it does not know the signal yet, and looks at the same files when it has started
        if pid is not None and self.is_up():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _listener(self) -> int | None:
        return _number_in(self.folder / "run" / "sshd.pid")

    def _end_listener(self) -> None:
        listener = self._listener()
        if listener is not None and listener in processes.residents(self.folder.parent).get(self.folder.name, []):
            with contextlib.suppress(ProcessLookupError):
                os.kill(listener, signal.SIGKILL)


def _number_in(path: Path) -> int | None:
    try:
        return int(path.read_text("ascii"))
    except (OSError, ValueError):
        return None
