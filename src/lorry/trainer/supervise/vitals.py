"""Signs of life: what moves, since when nothing does, the heartbeat for whoever looks, the GPU's health."""

from __future__ import annotations

import json
import os
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

import psutil

from lorry.plan.expected import of_run
from lorry.recipe.schema import Recipe
from lorry.track import disk
from lorry.track.events import ENDINGS
from lorry.track.folder import RunFolder
from lorry.trainer.supervise import gpu, pace
from lorry.trainer.supervise.gpu import Sample
from lorry.trainer.supervise.oom_kills import MemoryWatch

HEARTBEAT = 5.0
"""Seconds between two heartbeats."""
GPU_EVERY = 60.0
"""Seconds between two samples of the GPU."""
_BETWEEN_WARNINGS = 1800.0
"""Seconds before the same slowness is told again."""
_ASLEEP = 60.0
"""Seconds between two ticks after which the agent itself stood still: a paused container, a machine that was moved."""
_LOOK = 0.2
"""Seconds in which the processors' load is measured."""
_LEAVING = 60.0
"""Seconds that a trainer may take to end after its last word."""
_OF_A_STEP = ("training", "answering")
"""Phases that an optimizer step goes through: a rollout's answers are made and judged before it is trained on."""
_OTHER_PHASES = 30.0
"""Minutes that loading and scoring may take without a sign of life, where `stall_minutes` is less."""


class Facts(Protocol):
    """Where events are written."""

    def append(self, kind: str, *, step: int | None = None, **data: Any) -> None:
        """Writes an event."""
        ...

    def flush(self) -> None:
        """Writes what could not be written before."""
        ...


class Vitals:
    """What the agent knows of its trainer from moment to moment."""

    def __init__(
        self,
        folder: RunFolder,
        recipe: Recipe,
        facts: Facts,
        clock: Callable[[], float] = time.monotonic,
        *,
        began: float | None = None,
    ) -> None:
        """`began` is when the run would have begun by this clock, had it been worked on without a pause; by default now."""
        self.step = 0
        """The last optimizer step that was told."""
        self.phase = "loading"
        self.stalled = False
        self.said_end = ""
        """The kind of the event that told the end; empty before."""
        self.attempt = 1
        self._folder = folder
        self._stall_minutes = recipe.train.stall_minutes
        self._facts = facts
        self._clock = clock
        self._began = clock() if began is None else began
        self._pid = 0
        self._memory: MemoryWatch | None = None
        self._moved = self._beat = self._sampled = self._ticked = clock()
        self._warned = self._warned_of_disk = float("-inf")
        self._first_speeds: list[float] = []
        self._last_speeds: deque[float] = deque(maxlen=pace.FIRST)
        self._samples: deque[Sample] = deque(maxlen=60)

    def begin(self, pid: int, attempt: int = 1) -> None:
        """A trainer was started."""
        self._pid, self.attempt = pid, attempt
        self.phase, self.stalled, self.said_end = "loading", False, ""
        self._memory = MemoryWatch(pid)
        self._first_speeds.clear()
        self._last_speeds.clear()
        self._samples.clear()
        self._moved = self._ticked = self._clock()
        self._write_heartbeat()

    def moved(self, phase: str, step: int) -> None:
        """Something was computed: in training, or answering, a part of this step."""
        self.phase, self._moved = phase, self._clock()
        if phase in _OF_A_STEP:
            self.step = max(self.step, step - 1)

    def saw(self, kind: str, step: int | None, data: dict[str, Any]) -> None:
        """An event came."""
        self._moved = self._clock()
        self.said_end = kind if kind in ENDINGS else self.said_end
        if kind == "started":
            self.phase, self.step = "training", int(data["from_step"])
        elif kind == "step" and step is not None:
            self.step = step
            is_early = len(self._first_speeds) < pace.FIRST
            (self._first_speeds if is_early else self._last_speeds).append(float(data["tokens_per_second"]))

    def tick(self) -> bool:
        """Does what is due; says whether the trainer stands still and must be ended."""
        now = self._clock()
        if now - self._ticked >= _ASLEEP:
            self._moved += now - self._ticked
        self._ticked = now
        if now - self._beat >= HEARTBEAT:
            self._beat = now
            self._write_heartbeat()
            self._facts.flush()
            if self._memory is not None:
                self._memory.look()
        if now - self._sampled >= GPU_EVERY:
            self._sampled = now
            self._look(now)
        return self._stands_still(now)

    @property
    def overstays(self) -> bool:
        """Whether the trainer has told its end, and is still there long after."""
        return bool(self.said_end) and self._clock() - self._moved >= _LEAVING

    def memory_ran_out(self) -> bool:
        """Whether a kill, if the trainer was ended by one, is to be put down to memory."""
        return self._memory is not None and self._memory.ran_out()

    def close(self) -> None:
        """The last heartbeat: nothing runs any more."""
        self.phase, self._pid = "ended", 0
        self._write_heartbeat()

    def _stands_still(self, now: float) -> bool:
        limit = 60 * self._stall_minutes
        if self.phase not in (*_OF_A_STEP, "evaluating"):
            limit = max(limit, 60 * _OTHER_PHASES)
        if self.stalled or self.said_end or now - self._moved < limit:
            return False
        self.stalled = True
        self._facts.append("stalled", step=self.step, seconds=now - self._moved, phase=self.phase)
        return True

    def _look(self, now: float) -> None:
        """Samples the GPU and says what is slow, once in a while."""
        samples = gpu.sample()
        with suppress(OSError):  # a full disk is told elsewhere, and must not end the agent
            gpu.record(self._folder.gpu, samples, time.time())
        self._look_at_disk(now)
        if self.phase != "training":
            return
        self._samples.extend([one for one in samples if one.index == _card()] or samples[:1])
        found = pace.slow(self._seen()) if now - self._warned >= _BETWEEN_WARNINGS else None
        if found:
            self._warned = now
            self._facts.append("slow", step=self.step, message=found[0], cause=found[1])

    def _look_at_disk(self, now: float) -> None:
        """Warns while there is still time to make room."""
        if now - self._warned_of_disk < _BETWEEN_WARNINGS:
            return
        try:
            told = disk.warn_low(disk.room(self._folder.path), _newest_size(self._folder))
        except OSError:
            return
        if told:
            self._warned_of_disk = now
            self._facts.append("warning", step=self.step, message=told)

    def _seen(self) -> pace.Seen:
        expected, before = of_run(self._folder), _threads(self._pid)
        machine = psutil.cpu_percent(interval=_LOOK) / 100
        used = [(seconds - before.get(number, seconds)) / _LOOK for number, seconds in _threads(self._pid).items()]
        return pace.Seen(
            speeds=[*self._first_speeds, *self._last_speeds],
            samples=list(self._samples),
            planned=expected.slowest if expected else None,
            trainer_cpu=max(used, default=0.0),
            machine_cpu=machine,
            other_cpu=machine - sum(used) / (psutil.cpu_count() or 1),
        )

    def _write_heartbeat(self) -> None:
        """Writes the heartbeat whole, but not through to the disk: it is of use only while the machine runs."""
        running = {"agent": os.getpid(), "trainer": self._pid, "attempt": self.attempt}
        beat = {"at": time.time(), **running, "step": self.step, "phase": self.phase}
        beat["seconds"] = self._clock() - self._began
        aside = self._folder.heartbeat.with_name(".heartbeat")
        try:
            aside.write_text(json.dumps(beat) + "\n", encoding="utf-8")
            aside.replace(self._folder.heartbeat)
        except OSError:
            aside.unlink(missing_ok=True)


def _card() -> int:
    """The index of the GPU that trains: the first one that may be seen."""
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip()
    return int(first) if first.isdecimal() else 0


def _threads(pid: int) -> dict[int, float]:
    """Seconds of a processor that each thread of a process has used; empty where the system does not tell."""
    try:
        return {one.id: one.user_time + one.system_time for one in psutil.Process(pid).threads()}
    except psutil.Error:
        return {}


def _newest_size(folder: RunFolder) -> int:
    """Bytes of the newest checkpoint; 0 while there is none."""
    newest = max(folder.checkpoints.glob("step-*/"), default=None)
    return sum(file.stat().st_size for file in newest.iterdir()) if newest else 0
