"""What to do about a trainer that has ended: two tables, from an ending to its cause and from a cause to an action."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from lorry.errors import RefusedError, StoppedError
from lorry.trainer.ladder import Where

OUT_OF_MEMORY = "OutOfMemoryError"
"""What the trainer calls an error of memory that came where it could not go down the ladder by itself."""


class Action(Enum):
    """What the agent does next."""

    END = auto()
    RESTART = auto()
    LOWER = auto()
    """Restart one memory rung down."""


class Cause(Enum):
    """Why a trainer ended."""

    DONE = auto()
    STOPPED = auto()
    REFUSED = auto()
    """It said itself what is wrong: another try would say the same."""
    FAULT = auto()
    """An error in code, ours or a plugin's: the same lines would run again."""
    MEMORY = auto()
    KILLED = auto()
    """From outside, by whoever: no fault of the run's."""
    STALLED = auto()
    DEVICE = auto()
    CRASHED = auto()
    UNKNOWN = auto()


@dataclass(frozen=True)
class Ending:
    """How one attempt of the trainer ended."""

    code: int
    """Exit code; below 0 the signal that ended it."""
    step: int
    """The last optimizer step that was told."""
    error: str = ""
    """What it said itself, if anything."""
    exception: str = ""
    """Name of the Python exception that nobody foresaw."""
    out_of_memory: bool = False
    """Whether the system says that it killed something for its memory."""
    stalled: bool = False
    doing: Where = "training"
    """What it did last."""


_TIMES: dict[Cause, tuple[Action, int]] = {
    Cause.DONE: (Action.END, 0),
    Cause.STOPPED: (Action.END, 0),
    Cause.REFUSED: (Action.END, 0),
    Cause.FAULT: (Action.END, 0),
    Cause.MEMORY: (Action.LOWER, 100),
    Cause.KILLED: (Action.RESTART, 5),
    Cause.STALLED: (Action.RESTART, 1),
    Cause.DEVICE: (Action.RESTART, 1),
    Cause.CRASHED: (Action.RESTART, 1),
    Cause.UNKNOWN: (Action.RESTART, 1),
}
"""The action for each cause, and how often it is taken without a step of progress."""
_FRUITLESS = 10
"""Restarts, whatever they are for, that may come no further than an attempt before them."""

_FAULTS = frozenset(
    {
        *("AssertionError", "AttributeError", "ImportError", "IndexError", "KeyError", "ModuleNotFoundError"),
        *("NameError", "NotImplementedError", "RecursionError", "SyntaxError", "TypeError", "UnboundLocalError"),
    }
)
_CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSYS, signal.SIGTRAP)
_STOPPED = (RefusedError.exit_code, StoppedError.exit_code, -signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP)
_DEVICE = ("cuda error", "acceleratorerror", "nccl", "ecc error", "unspecified launch failure", "cublas", "cudnn")

_CAUSES: tuple[tuple[Cause, Callable[[Ending], bool]], ...] = (
    (Cause.DONE, lambda ending: ending.code == 0),
    (Cause.REFUSED, lambda ending: bool(ending.error) and not ending.exception),
    (Cause.FAULT, lambda ending: ending.exception in _FAULTS),
    (Cause.STALLED, lambda ending: ending.stalled),
    (Cause.MEMORY, lambda ending: ending.exception == OUT_OF_MEMORY),
    (Cause.MEMORY, lambda ending: ending.code == -signal.SIGKILL and ending.out_of_memory),
    (Cause.KILLED, lambda ending: ending.code == -signal.SIGKILL),
    (Cause.STOPPED, lambda ending: ending.code in _STOPPED),
    (Cause.CRASHED, lambda ending: -ending.code in _CRASHES),
    (Cause.DEVICE, lambda ending: any(word in ending.error.lower() for word in _DEVICE)),
    (Cause.UNKNOWN, lambda _ending: True),
)
"""The first row that holds gives the cause."""


def cause_of(ending: Ending) -> Cause:
    """Why a trainer ended so."""
    return next(cause for cause, holds in _CAUSES if holds(ending))


def decide(ending: Ending, before: Sequence[Ending]) -> Action:
    """What to do about this ending. `before` are the endings of earlier attempts of this agent, the last one last."""
    cause = cause_of(ending)
    action, times = _TIMES[cause]
    fruitless = [(earlier.step, cause_of(earlier)) for earlier in before if earlier.step >= ending.step]
    tried = fruitless.count((ending.step, cause))
    restarts = sum(_TIMES[earlier][0] is Action.RESTART for _, earlier in fruitless)
    return action if tried < times and restarts < _FRUITLESS else Action.END


def last_words(ending: Ending) -> str:
    """What happened, for a trainer that could not say it."""
    if ending.error:
        return ending.error
    told = {
        Cause.MEMORY: "the system killed the trainer because memory ran out",
        Cause.KILLED: "the process that trained was killed",
        Cause.STALLED: "the trainer stood still and was ended",
    }
    if cause_of(ending) in told:
        return told[cause_of(ending)]
    if ending.code < 0:
        return f"the trainer was ended by {_signal(-ending.code)}"
    return f"the trainer ended with exit code {ending.code} and without a word"


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
