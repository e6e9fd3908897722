"""What a machine tells of a run, judged before it is believed; pure.

The machine may be anybody's: each line is checked as if it were written to do harm. What is wrong raises OutcomeError
UNTRUSTED, with a sentence that says what it was.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeGuard, cast

from lorry.compute.outcomes import Outcome, OutcomeError
from lorry.track.events import CONTROLLERS, KINDS, Event
from lorry.visible import clean

LONGEST = 1 << 20
"""Bytes of a line."""
A_MINUTE = 64 << 20
"""Bytes that may come in a minute; an honest machine holds itself to half of it, however much it has to tell."""
IN_ALL = 1 << 30
"""Bytes that may come over one connection; an honest machine ends it half-way, and goes on over the next."""
_MOST_CHECKPOINTS = 10_000
_MOST_INT = 2**63 - 1
"""The store keeps no larger one."""
_LAST_TIME = 1e11
"""Seconds since 1970 that a date can still be made of."""
_MOST_ROWS = 1 << 31
"""Computed at once."""
_CHECKPOINT = re.compile(r"step-[0-9]{6,12}")
_OF_A_STEP = frozenset({"step", "evaluated", "rollout", "saved"})
_IF_THERE = {"step": ("reward",), "evaluated": ("loss", "reward")}
"""Fields that a kind need not have, and that are shown where it has them."""


@dataclass(frozen=True)
class Beat:
    """The agent's heartbeat."""

    at: float
    """Seconds since 1970, by the machine's clock."""
    attempt: int
    step: int
    phase: str
    seconds: float
    """That the run has been worked on."""


@dataclass(frozen=True)
class AgentGone:
    """The agent's process is not there, and training has not ended."""

    pid: int


@dataclass(frozen=True)
class Ended:
    """Training has ended, and all of its events were told."""

    code: int | None
    """The agent's exit code; None where it could not be written."""


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints that are complete on the machine now."""

    names: tuple[str, ...]
    """`step-000050`, in order."""


Told = Event | Beat | AgentGone | Ended | Checkpoints


class Judge:
    """Takes a connection's lines in order, and says what each means."""

    def __init__(self, after: int, now: float) -> None:
        """`after` is the number of the last event that is known; `now` any clock's seconds, that goes forward only."""
        self._last = after
        self._minute = now
        self._bytes = 0
        self._all = 0
        self._readers: Mapping[bytes, Callable[[bytes], Told | None]] = {
            b"e": self._event,
            b"h": _beat,
            b"c": _checkpoints,
            b"g": lambda text: AgentGone(_number(text, "the agent's process")),
            b"x": _ended,
            b"!": _refused,
        }

    def told(self, line: bytes, now: float) -> Told | None:
        """What one whole line means; None where it says nothing new. Raises OutcomeError UNTRUSTED."""
        self._weigh(len(line), now)
        kind, space, text = line[:1], line[1:2], line[2:].strip()
        if kind not in self._readers or space != b" ":
            _distrust("a line that means nothing")
        return self._readers[kind](text)

    def _weigh(self, size: int, now: float) -> None:
        if size > LONGEST + 3:
            _distrust("a line longer than a MiB")
        if now - self._minute >= 60:
            self._minute, self._bytes = now, 0
        self._bytes += size
        self._all += size
        if self._bytes > A_MINUTE:
            _distrust(f"more than {A_MINUTE >> 20} MiB in a minute")
        if self._all > IN_ALL:
            _distrust(f"more than {IN_ALL >> 30} GiB of events")

    def _event(self, text: bytes) -> Event:
        found = _json(text, "an event")
        seq = found.get("seq")
        if not _is_int(seq) or seq != self._last + 1:
            _distrust(f"event {_shown(seq)} after event {self._last}")
        event = _checked(found)
        self._last = event.seq
        return event


def _checked(found: Mapping[str, Any]) -> Event:
    """An event of a known kind, with its fields, each of its type; others that a newer lorry added are left out."""
    kind, at, attempt, step, data = (found.get(name) for name in ("kind", "at", "attempt", "step", "data"))
    seq = found["seq"]
    if not isinstance(kind, str) or kind not in KINDS or kind in CONTROLLERS:
        _distrust(f"an event of the kind {_shown(kind)}, which is unknown or not its to tell")
    if not _is_number(at) or not 0 <= at <= _LAST_TIME:
        _distrust(f"event {seq} at no time: {_shown(at)}")
    if not _is_int(attempt) or not 1 <= attempt <= 1_000_000:
        _distrust(f"event {seq} of no attempt: {_shown(attempt)}")
    if not _is_count(step) and (step is not None or kind in _OF_A_STEP):
        _distrust(f"event {seq} of no step: {_shown(step)}")
    if not isinstance(data, dict):
        _distrust(f"event {seq} without data")
    given = cast("dict[str, Any]", data)
    wanted = (*KINDS[kind], *(name for name in _IF_THERE.get(kind, ()) if name in given))
    _check_fields(f"event {seq}, `{kind}`,", wanted, given if step is None else {"step": step, **given})
    return Event(seq, float(at), kind, attempt, step, rung_of(given) if kind == "rung" else given)


def _check_fields(what: str, wanted: Sequence[str], given: Mapping[str, Any]) -> None:
    for name in wanted:
        if name not in given:
            _distrust(f"{what} without `{name}`")
        if not _TYPES[name](given[name]):
            _distrust(f"{what} whose `{name}` is {_shown(given[name])}")


def rung_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """A memory rung with its own fields only: whoever trains next makes a `Rung` of it. Raises OutcomeError UNTRUSTED."""
    found = {name: given.get(name) for name in KINDS["rung"]}
    for name, value in found.items():
        is_flag = name == "activation_checkpointing"
        if not (isinstance(value, bool) if is_flag else _is_int(value) and 1 <= value <= _MOST_ROWS):
            _distrust(f"a memory rung whose `{name}` is {_shown(value)}")
    return found


def _harmless(value: Any) -> Any:
    """The value with all text cleaned of what could steer a terminal. Raises OutcomeError for numbers beyond all measure."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean(str(key)): _harmless(item) for key, item in cast("dict[Any, Any]", value).items()}
    if isinstance(value, list):
        return [_harmless(item) for item in cast("list[Any]", value)]
    if isinstance(value, int) and abs(value) > _MOST_INT:
        _distrust("a number beyond all measure")
    return value


def _is_int(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> TypeGuard[float]:
    return (isinstance(value, float) or _is_int(value)) and math.isfinite(value)


def _is_figure(value: Any) -> bool:
    """A number, also one that came out as none."""
    return isinstance(value, float) or _is_int(value)


def _is_measure(value: Any) -> bool:
    """The same, or None where nothing could be measured."""
    return value is None or _is_figure(value)


def _is_count(value: Any) -> TypeGuard[int]:
    return _is_int(value) and value >= 0


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _are_findings(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(one, dict) and isinstance(one.get("message"), str) for one in cast("list[Any]", value)
    )


def _are_samples(value: Any) -> bool:
    """Answers as a rollout shows them."""
    return isinstance(value, list) and all(
        isinstance(one, dict) and isinstance(one.get("answer"), str) and _is_figure(one.get("reward"))
        for one in cast("list[Any]", value)
    )


def _is_count_or_none(value: Any) -> bool:
    return value is None or _is_count(value)


_TYPES: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(
        (
            *("recipe", "run", "precision", "device", "message", "where", "error", "path", "reason", "action", "phase"),
            *("cause", "part", "check", "hint"),
        ),
        _is_text,
    ),
    **dict.fromkeys(("loss", "reward", "learning_rate", "tokens_per_second", "share", "pause"), _is_figure),
    "grad_norm": _is_measure,
    **dict.fromkeys(("seconds",), _is_number),
    **dict.fromkeys(
        ("train_rows", "train_tokens", "eval_rows", "test_rows", "return_to", "memory_bytes"), _is_count_or_none
    ),
    **dict.fromkeys(
        (
            *("parameters", "trainable", "micro_batch", "accumulation", "eval_batch", "generation_batch", "from_step"),
            *("steps", "trained_tokens", "tokens", "step", "done", "total", "answers"),
        ),
        _is_count,
    ),
    "exit_code": _is_int,
    "activation_checkpointing": lambda value: isinstance(value, bool),
    "passed": lambda value: isinstance(value, bool),
    "findings": _are_findings,
    "samples": _are_samples,
    "rows": lambda value: isinstance(value, list),
    "scores": lambda value: isinstance(value, dict),
}
"""What each field of `KINDS` may be."""


def _beat(text: bytes) -> Beat | None:
    if text == b"null":
        return None
    found = _json(text, "a heartbeat")
    at, attempt, step, phase, seconds = (found.get(name) for name in ("at", "attempt", "step", "phase", "seconds"))
    if not (_is_number(at) and _is_number(seconds) and seconds >= 0 and _is_count(attempt) and _is_count(step)):
        _distrust("a heartbeat that is none")
    if not isinstance(phase, str) or not 0 <= at <= _LAST_TIME:
        _distrust("a heartbeat that is none")
    return Beat(float(at), attempt, step, phase[:100], float(seconds))


def _checkpoints(text: bytes) -> Checkpoints:
    found = _parsed(text, "checkpoints")
    names: list[Any] = cast("list[Any]", found) if isinstance(found, list) else [None]
    if len(names) > _MOST_CHECKPOINTS or not all(isinstance(one, str) and _CHECKPOINT.fullmatch(one) for one in names):
        _distrust("checkpoints that are none")
    return Checkpoints(tuple(sorted(set(names))))


def _ended(text: bytes) -> Ended:
    return Ended(None if text == b"?" else _number(text, "an exit code"))


def _refused(text: bytes) -> NoReturn:
    _distrust(f"what it cannot send: {clean(text[:200].decode('utf-8', 'replace'))}")


def _number(text: bytes, what: str) -> int:
    if not re.fullmatch(rb"-?[0-9]{1,10}", text):
        _distrust(f"{what} that is no number")
    return int(text)


def _json(text: bytes, what: str) -> Mapping[str, Any]:
    found = _parsed(text, what)
    if not isinstance(found, dict):
        _distrust(f"{what} that is none")
    return cast("Mapping[str, Any]", found)


def _parsed(text: bytes, what: str) -> Any:
    """The JSON, harmless to look at."""
    try:
        return _harmless(json.loads(text))
    except (ValueError, RecursionError):
        _distrust(f"{what} that is no JSON")


def _shown(value: Any) -> str:
    """A value in a sentence, short."""
    is_short = isinstance(value, (str, int, float))
    return f"`{str(value)[:40] if is_short else 'nothing' if value is None else type(value).__name__}`"


def _distrust(what: str) -> NoReturn:
    hint = "the machine is not used any more; its files are not trusted either"
    raise OutcomeError(Outcome.UNTRUSTED, f"the machine sent {what}", hint=hint)
