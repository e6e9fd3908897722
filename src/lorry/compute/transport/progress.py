"""How far a transfer is: counted by the threads that move bytes, told by the one that watches them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

_WINDOW = 10.0
"""Seconds over which the rate is taken."""
_EVERY = 0.5


@dataclass(frozen=True)
class Progress:
    """Where a transfer stands. Bytes that were there already count as done, and not towards the rate."""

    done_bytes: int
    total_bytes: int
    bytes_per_second: float
    """Over the last ten seconds."""
    seconds_left: float | None
    """At this rate; None as long as there is none."""
    name: str
    """The file that moved last."""


class Meter:
    """Counts, for several threads, and tells at most twice a second."""

    def __init__(self, tell: Callable[[Progress], None] | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.moved = 0
        """Bytes that went over the line."""
        self._tell = tell
        self._clock = clock
        self._lock = Lock()
        self._done = self._total = 0
        self._name = ""
        self._told = 0.0
        self._seen: deque[tuple[float, int]] = deque([(clock(), 0)])

    def expect(self, count: int) -> None:
        """Adds bytes that have to move, or were found not to (negative)."""
        with self._lock:
            self._total += count

    def add(self, count: int, name: str, *, moved: bool = True) -> None:
        """Adds bytes that are there now; `moved` where they came over the line. Negative ones have to come again."""
        with self._lock:
            self._done += count
            self.moved += count if moved else 0
            self._name = name

    def report(self, *, last: bool = False) -> None:
        """Tells where it stands, if it is time for that."""
        now = self._clock()
        if self._tell is None or (now - self._told < _EVERY and not last):
            return
        self._told = now
        self._seen.append((now, self.moved))
        while len(self._seen) > 2 and self._seen[1][0] <= now - _WINDOW:
            self._seen.popleft()
        (began, before), moved = self._seen[0], self.moved
        rate = (moved - before) / (now - began) if now > began else 0.0
        left = max(0, self._total - self._done)
        self._tell(Progress(self._done, self._total, rate, left / rate if rate > 0 else None, self._name))
