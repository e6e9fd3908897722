"""Whether a process was killed for its memory: what the kernel counts, and how little was left while it lived."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import psutil

_SCARCE = 0.04
"""Share of the memory below which a kill is put down to memory although no counter says so."""
_KEPT = 7
"""Looks that are kept: a kill is counted at once, but giving back a GPU's memory can take a process half a minute."""
_ROOT = Path("/")


@dataclass(frozen=True)
class _Look:
    counter: Path | None
    kills: int
    is_scarce: bool


class MemoryWatch:
    """Looks every few seconds at how a process stands with memory, and says afterwards whether it was killed for it.

    What happened long before its end says nothing of it: kills of others are counted too.
    """

    def __init__(self, pid: int, root: Path = _ROOT) -> None:
        self._pid = pid
        self._root = root
        self._looks: deque[_Look] = deque(maxlen=_KEPT)
        self.look()

    def look(self) -> None:
        """Notes how things stand, as long as the process lives."""
        if not _lives(self._pid):
            return
        counter = counter_of(self._pid, self._root)
        kills = _kills(counter) or 0
        self._looks.append(_Look(counter, kills, memory_is_scarce(self._pid, self._root)))

    def ran_out(self) -> bool:
        """Whether the system has killed for memory within the last looks, or hardly any was left."""
        return any(look.is_scarce or (_kills(look.counter) or 0) > look.kills for look in self._looks)


def counter_of(pid: int, root: Path = _ROOT) -> Path | None:
    """The file that counts the kills nearest to a process: its memory cgroup's, else the whole machine's.

    A cgroup counts every kill of its own processes, also one for want of the machine's memory (`__oom_kill_process` in
    Linux's mm/oom_kill.c), but none of its neighbours'. Version 2 counts those of the groups below as well.
    """
    files = [group / name for group in _groups(pid, root) for name in ("memory.events", "memory.oom_control")]
    return next((file for file in [*files, root / "proc/vmstat"] if _kills(file) is not None), None)


def memory_is_scarce(pid: int, root: Path = _ROOT) -> bool:
    """Whether hardly any memory is left at this moment, in the machine or in a cgroup that a process is in."""
    memory = psutil.virtual_memory()
    return memory.available < _SCARCE * memory.total or any(_is_full(group) for group in _groups(pid, root))


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _kills(counter: Path | None) -> int | None:
    """None where the file cannot be read or counts no kills."""
    if counter is None:
        return None
    try:
        found = re.search(r"^oom_kill (\d+)$", counter.read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) if found else None


def _groups(pid: int, root: Path) -> list[Path]:
    """The folders of a process's memory cgroup and of those that it lies in, its own first."""
    try:
        paths = _paths(root / f"proc/{pid}/cgroup")
        top = root / "sys/fs/cgroup" / ("memory" if "memory" in paths else "")
        own = top / paths.get("memory", paths.get("", ""))
        # Inside a container the path may be the host's, and its own group is mounted at the top.
        if ".." in own.parts or not own.is_dir():
            return [top]
    except OSError:
        return []
    return [group for group in (own, *own.parents) if group.is_relative_to(top)]


def _paths(file: Path) -> dict[str, str]:
    """Where a process stands, by controller: version 1 names each, version 2 none."""
    paths: dict[str, str] = {}
    for line in file.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        paths.update(dict.fromkeys(controllers.split(","), path.strip("/")))
    return paths


def _is_full(group: Path) -> bool:
    """Whether a cgroup may have hardly any more than it has. What it has read of files can be given back."""
    for limit, usage, cache in (
        ("memory.max", "memory.current", r"^(?:in)?active_file (\d+)$"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", r"^total_(?:in)?active_file (\d+)$"),
    ):
        try:
            allowed, used = (int((group / name).read_text(encoding="utf-8")) for name in (limit, usage))
            stat = (group / "memory.stat").read_text(encoding="utf-8")
        except (OSError, ValueError):  # there is no such file, or the limit is "max": none
            continue
        given_back = sum(int(size) for size in re.findall(cache, stat, re.MULTILINE))
        return allowed - used + given_back < _SCARCE * allowed
    return False
