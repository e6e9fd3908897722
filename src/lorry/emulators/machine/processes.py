"""Which processes belong to which emulated machine, whoever their parent is by now."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections import defaultdict
from pathlib import Path

from lorry.emulators.machine.image import MARKER

_MARK = f"{MARKER}=".encode()


def residents(machines: Path) -> dict[str, list[int]]:
    """The processes of each machine whose folder is in `machines`, by the machine's id; zombies left out.

    A process is known by the variable that marks it. OpenSSH writes over its own environment, so that one is known by what it
    was started with, or by its log.
    """
    found: dict[str, list[int]] = defaultdict(list)
    owners = {pid: machine for pid in _own_processes() if (machine := _machine_of(pid, machines))}
    _add_sessions(owners)
    for pid, machine in owners.items():
        if (machines / machine).is_dir():
            found[machine].append(pid)
    return dict(found)


def _add_sessions(owners: dict[int, str]) -> None:
    """Adds what serves SSH connections: it bears no mark itself, but its parent or what it started does."""
    unknown = {pid: _parent(pid) for pid in _own_processes() if pid not in owners and _name(pid).startswith("sshd")}
    parents = {parent: machine for pid, machine in owners.items() if (parent := _parent(pid)) > 1}
    for _ in range(3):  # listener, monitor, the user's own
        for pid, parent in unknown.items():
            if machine := owners.get(parent) or parents.get(pid):
                owners.setdefault(pid, machine)
                parents.setdefault(parent, machine)


def marked() -> dict[str, list[int]]:
    """The processes of every emulated machine on this computer, by the machine's id, whichever emulator it is of."""
    found: dict[str, list[int]] = defaultdict(list)
    for pid in _own_processes():
        if machine := _marker(pid):
            found[machine].append(pid)
    return dict(found)


def end(machine: Path, *, seconds: float = 10.0) -> bool:
    """Kills every process of a machine until none is left; whether that came to be in time."""
    until = time.monotonic() + seconds
    while left := residents(machine.parent).get(machine.name):
        if time.monotonic() > until:
            return False
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
    return True


def sessions(machine: Path, listener: int | None) -> list[int]:
    """The processes of a machine's SSH server that serve one connection each."""
    own = residents(machine.parent).get(machine.name, [])
    return [pid for pid in own if pid != listener and _name(pid).startswith("sshd")]


def _machine_of(pid: int, machines: Path) -> str:
    return _marker(pid) or _inside(_title(pid), machines) or _inside(_log_of(pid), machines)


def _inside(text: str, machines: Path) -> str:
    """The machine that a text names by its folder."""
    _, found, rest = text.partition(f"{machines}/")
    return rest.split("/", 1)[0] if found and "/" in rest else ""


if sys.platform == "linux":

    def _own_processes() -> list[int]:
        user = os.getuid()
        own: list[int] = []
        for entry in os.scandir("/proc"):
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and entry.stat().st_uid in (user, 0):
                    own.append(int(entry.name))
        return own

    def _read(pid: int, name: str) -> bytes:
        try:
            return Path(f"/proc/{pid}/{name}").read_bytes()
        except OSError:
            return b""

    def _marker(pid: int) -> str:
        for part in _read(pid, "environ").split(b"\0"):
            if part.startswith(_MARK):
                return part[len(_MARK) :].decode("utf-8", "replace")
        return ""

    def _title(pid: int) -> str:
        return _read(pid, "cmdline").replace(b"\0", b" ").decode("utf-8", "replace")

    def _name(pid: int) -> str:
        return _read(pid, "comm").decode("utf-8", "replace").strip()

    def _parent(pid: int) -> int:
        _, _, rest = _read(pid, "stat").rpartition(b")")
        return int(rest.split()[1]) if rest else 0

    def _log_of(pid: int) -> str:
        try:
            return str(Path(f"/proc/{pid}/fd/2").readlink()) if _name(pid).startswith("sshd") else ""
        except OSError:
            return ""

else:
    import psutil

    def _own_processes() -> list[int]:
        return psutil.pids()

    def _marker(pid: int) -> str:
        with contextlib.suppress(psutil.Error, OSError):
            return psutil.Process(pid).environ().get(MARKER, "")
        return ""

    def _title(pid: int) -> str:
        with contextlib.suppress(psutil.Error, OSError):
            return " ".join(psutil.Process(pid).cmdline())
        return ""

    def _name(pid: int) -> str:
        with contextlib.suppress(psutil.Error, OSError):
            return psutil.Process(pid).name()
        return ""

    def _parent(pid: int) -> int:
        with contextlib.suppress(psutil.Error, OSError):
            return psutil.Process(pid).ppid()
        return 0

    def _log_of(pid: int) -> str:  # noqa: ARG001 - its log cannot be told there
        return ""
