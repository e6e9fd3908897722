"""The agent: supervises the trainer on the machine that trains, restarts it where that helps, and writes down all facts.

It is started as `python -m lorry.trainer.agent RUN_FOLDER`, in a session of its own, so that it outlives whoever started it.
It imports no torch: it must stay small and alive when the trainer takes all memory.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock, Timeout

from lorry.errors import RefusedError, StoppedError
from lorry.recipe.here import recipe_here
from lorry.secrets.masking import mask
from lorry.track.events import Event, read
from lorry.track.folder import RunFolder
from lorry.trainer.channel import ATTEMPT, BEGAN, RUNG, TAKEN
from lorry.trainer.ladder import Rung, Where, next_rung
from lorry.trainer.signals import heard
from lorry.trainer.supervise.child import Child, Message
from lorry.trainer.supervise.journal import Journal
from lorry.trainer.supervise.logs import Logs
from lorry.trainer.supervise.orphan import end_orphan
from lorry.trainer.supervise.relayed import Relayed
from lorry.trainer.supervise.restart import Action, Ending, decide, last_words
from lorry.trainer.supervise.spent import seconds_spent
from lorry.trainer.supervise.vitals import Vitals

_TICK = 0.1
_SAME = 0.5
"""Seconds within which further signals count as the first."""
_FAILED = 1
_SAID = {"finished": (0,), "stopped": (StoppedError.exit_code, RefusedError.exit_code)}
"""What a trainer that has said its end has come to, whatever happens while its process is taken down: the first, or another."""
_DOING: Mapping[str, Where] = {
    "answering": "generating",
    "evaluating": "evaluating",
    "scoring": "generating",
}


class Agent:
    """Supervises one run until it has ended."""

    def __init__(self, folder: RunFolder) -> None:
        facts = json.loads(folder.resolved.read_text(encoding="utf-8"))
        history = [event for event in read(folder.events) if event.kind not in ("step", "scoring")]
        self.folder = folder
        self.recipe = recipe_here(facts)
        self.is_rented = bool(facts.get("rented"))
        self.journal = Journal(folder.events, _next_attempt(history))
        self.began = time.monotonic() - seconds_spent(folder, read(folder.events))
        self.vitals = Vitals(folder, self.recipe, self.journal, began=self.began)
        self.relay = Relayed(folder, self.recipe)
        self.endings: list[Ending] = []
        self.rung = _last_rung(history)
        self.lowered = _was_lowered(history)
        self.signals: list[signal.Signals] = []
        self.signalled = 0.0
        self.child: Child | None = None

    def run(self) -> int:
        """Blocks until the run has ended; the exit code is the trainer's, or 1."""
        while True:
            ending, failed = self._attempt()
            if self._is_over(ending):
                self._say_end(ending, failed)
                return ending.code if ending.code >= 0 else _FAILED
            self.endings.append(ending)
            self.journal.attempt += 1

    def pass_on(self, number: signal.Signals) -> None:
        """Passes the first signal on to the trainer, at once; a second one, if it comes later, ends it.

        Called in a thread of its own: the main thread may be waiting for the disk.
        """
        now = time.monotonic()
        if self.signals and now - self.signalled < _SAME:
            return
        self.signalled = now
        self.signals.append(number)
        if self.child is not None:
            self.child.tell(self.signals[0] if len(self.signals) == 1 else signal.SIGKILL)

    def _is_over(self, ending: Ending) -> bool:
        """Whether no further attempt is made; what is done about the ending is written down."""
        action = Action.END if self.signals else decide(ending, self.endings)
        lower = next_rung(ending.doing, self.rung) if action is Action.LOWER and self.rung else None
        # Killed while the model was loaded: no rung helps, but whoever else took the memory may be gone.
        is_worth_it = lower is not None or (self.rung is None and not self.endings)
        if action is Action.END or (action is Action.LOWER and not is_worth_it):
            return True
        told = last_words(ending)
        self.journal.append(
            "crashed", step=ending.step, exit_code=ending.code, error=told.splitlines()[-1], action=action.name.lower()
        )
        if lower is not None:
            self.journal.append("oom", step=ending.step, where=ending.doing, error=told)
            self.journal.append("rung", step=ending.step, **lower.as_dict())
            self.rung, self.lowered = lower, True
        return False

    def _attempt(self) -> tuple[Ending, dict[str, Any] | None]:
        """Runs the trainer once; how it ended, and what it said itself of its failure."""
        variables = {ATTEMPT: str(self.journal.attempt), BEGAN: str(self.began)}
        if self.lowered and self.rung is not None:
            variables[RUNG] = json.dumps(self.rung.as_dict())
        logs = Logs(self.folder.logs)
        child = self.child = Child(self.folder, variables, logs.write)
        self.vitals.begin(child.pid, self.journal.attempt)
        if self.signals:  # one came before there was anybody to pass it on to
            child.tell(self.signals[0])
        failed: dict[str, Any] | None = None
        while not (child.has_ended() and child.messages.empty()):
            message = child.next_message(_TICK)
            if message is not None:
                failed = self._take(message) or failed
            self.relay.tend()
            if self.vitals.tick():
                self._end_stalled(child)
            elif self.vitals.overstays:
                child.tell(signal.SIGKILL)
        child.close()
        logs.close()
        return self._ending(child.process.returncode, failed), failed

    def _take(self, message: Message) -> dict[str, Any] | None:
        """Writes down what the trainer says; a failure is kept back, for another attempt may follow."""
        if "beat" in message:
            self.vitals.moved(*message["beat"])
            return None
        kind, step, data = message["kind"], message["step"], message["data"]
        self.vitals.saw(kind, step, data)
        if kind == "failed":
            return data
        if kind == "rung":
            self.rung = Rung(**data)
        self.journal.append(kind, step=step, **data)
        return None

    def _end_stalled(self, child: Child) -> None:
        """Has the trainer write down where each of its threads is, and ends it."""
        child.tell(signal.SIGUSR1)
        time.sleep(1)
        child.tell(signal.SIGKILL)

    def _ending(self, code: int, failed: Mapping[str, Any] | None) -> Ending:
        said, codes = failed or {}, _SAID.get(self.vitals.said_end, (code,))
        return Ending(
            code=code if code in codes else codes[0],
            step=self.vitals.step,
            error=str(said.get("error", "")),
            exception=str(said.get("exception", "")),
            out_of_memory=self.vitals.memory_ran_out(),
            stalled=self.vitals.stalled,
            doing=_DOING.get(self.vitals.phase, "training"),
        )

    def _say_end(self, ending: Ending, failed: Mapping[str, Any] | None) -> None:
        """Sees that the events tell how the run ended."""
        if failed is not None:
            self.journal.append("failed", **failed)
        elif self.signals and not self.vitals.said_end:
            cause = "preempted" if self.signals[0] == signal.SIGTERM else "person"
            self.journal.append("stopped", reason=_stopped_at_once(self.folder), cause=cause)
        elif not self.vitals.said_end:
            hint = f"see {self.folder.logs / 'trainer.log'}; `lorry resume {self.folder.id}` goes on from the last checkpoint"
            told = last_words(ending)
            if any(before.step == ending.step for before in self.endings):
                told = f"{told}, again after step {ending.step}"
            self.journal.append("failed", error=told, hint=hint, exit_code=_FAILED)


def supervise(path: Path) -> int:
    """Runs the agent of a run; 75 where another one has it."""
    folder = RunFolder(path)
    sys.excepthook = _say_fault
    try:
        with FileLock(folder.path / "agent.lock", timeout=0):
            end_orphan(folder)
            agent = Agent(folder)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            with heard(agent.pass_on):
                try:
                    code = agent.run()
                finally:
                    _settle(agent)
    except Timeout:
        sys.stderr.write(f"another agent has {folder.id}\n")
        return TAKEN
    # Without the lock: a tracker that is slow must not keep the run from being resumed.
    agent.relay.close()
    return code


def _say_fault(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    sys.stderr.write(mask("".join(traceback.format_exception(kind, error, trace))))


def _settle(agent: Agent) -> None:
    """Whoever started the run may be gone by now: the store and the report are written here too.

    Those of a run on a rented machine are at home.
    """
    from lorry.job import settle

    agent.vitals.close()
    agent.journal.close()
    if not agent.is_rented:
        settle(agent.folder)


def _next_attempt(history: list[Event]) -> int:
    """1 for a run that no trainer has touched, else one more than the last."""
    last = max((event.attempt for event in history), default=1)
    was_tried = any(
        event.kind in ("loaded", "started", "crashed", "failed", "stopped", "finished") for event in history
    )
    return last + 1 if was_tried else last


def _last_rung(history: list[Event]) -> Rung | None:
    found = [event.data for event in history if event.kind == "rung"]
    return Rung(**found[-1]) if found else None


def _was_lowered(history: list[Event]) -> bool:
    """Whether the system has killed the trainer for its memory: its checkpoint does not know that."""
    return any(event.kind == "crashed" and event.data["action"] == Action.LOWER.name.lower() for event in history)


def _stopped_at_once(folder: RunFolder) -> str:
    kept = "; the checkpoints are kept" if any(folder.checkpoints.glob("step-*")) else ""
    return f"stopped at once{kept}"


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    sys.exit(supervise(Path(sys.argv[1])))
