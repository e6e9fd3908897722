"""Whether the system has killed processes for their memory: counters of the kernel and of this process's cgroup."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

_SCARCE = 0.04
"""Share of the machine's memory below which a kill is put down to memory although no counter says so."""


def count(root: Path = Path("/")) -> int:
    """Kills so far, summed over all counters that can be read; only a difference says anything."""
    return sum(_numbers(root))


def memory_is_scarce() -> bool:
    """Whether hardly any memory is left at this moment."""
    import psutil

    memory = psutil.virtual_memory()
    return memory.available < _SCARCE * memory.total


def _numbers(root: Path) -> Iterator[int]:
    for path in (root / "proc/vmstat", *_of_cgroup(root)):
        try:
            found = re.search(r"^oom_kill (\d+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
        except OSError:
            continue
        if found:
            yield int(found[1])


def _of_cgroup(root: Path) -> Iterator[Path]:
    """The counters of the cgroup: version 2's `memory.events`, version 1's `memory.oom_control`."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        below = path.strip("/")
        # Inside a container the path may be the host's, and its own group is mounted at the top.
        if not controllers:
            yield from {root / "sys/fs/cgroup" / below / "memory.events", root / "sys/fs/cgroup/memory.events"}
        elif "memory" in controllers.split(","):
            top = root / "sys/fs/cgroup/memory"
            yield from {top / below / "memory.oom_control", top / "memory.oom_control"}
