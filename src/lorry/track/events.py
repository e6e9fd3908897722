"""Events: each fact of a run is one numbered line in `events.jsonl`; everything shown anywhere derives from them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from lorry.errors import InputError
from lorry.secrets.masking import mask_values

KINDS: dict[str, tuple[str, ...]] = {
    "created": ("recipe", "run"),  # the folder exists
    "checked": ("findings",),  # plan made; findings as dicts
    "data": ("train_rows", "eval_rows", "test_rows", "train_tokens"),
    "machine": ("findings",),  # the machine that trains, looked at just before; findings as dicts
    "waiting": ("message",),  # nothing can be rented now; asked again until the recipe's time is up
    "rented": ("lease", "machine", "provider", "usd_per_hour"),  # a machine for one attempt
    "sent": ("lease", "after"),  # the run lies on the machine, with the events up to the number `after`
    "ready": ("lease", "seconds"),  # set up and told to train, after so many seconds
    "lost": ("lease", "outcome", "message", "action"),  # what befell a machine or an offer, and what is done about it
    "copied": ("path",),  # a checkpoint is home
    "fetched": ("bytes",),  # adapter, scores and the rest are home
    "handed": ("lease", "run", "seconds", "usd"),  # the machine serves another run now, and was not rented anew
    "over": (
        "outcome",
        "message",
        "last",
    ),  # how it ended, with the machine's last word; said again once all is given back
    "returned": ("lease", "seconds", "usd"),  # the provider has confirmed that the machine is gone
    "may_bill": ("lease", "message", "hint"),  # and this it has not
    "loaded": ("parameters", "trainable", "precision", "device"),
    "note": ("message",),  # something resolved or switched that the person should know
    "warning": ("message",),
    "rung": (
        "micro_batch",
        "accumulation",
        "activation_checkpointing",
        "eval_batch",
        "generation_batch",
    ),  # memory in use
    "oom": ("where", "error"),  # memory ran out; what was being done
    "rejected": ("path", "reason"),  # a checkpoint that does not verify, and was passed over
    "resumed": ("from_step", "path"),  # training goes on from a checkpoint
    "started": (
        "steps",
        "from_step",
    ),  # of all steps, those after `from_step` are trained now; earlier records of them go
    "step": ("loss", "learning_rate", "grad_norm", "trained_tokens", "tokens_per_second", "memory_bytes"),
    "rollout": ("answers", "reward", "samples"),  # the model's own answers, judged; a few of them as they are
    "evaluated": (),  # scores of the evaluation rows during training: `loss`, or `reward`, and others
    "saved": ("path", "seconds", "pause"),  # seconds that writing took, and those that training stood still
    "forecast": ("seconds", "message"),  # what the whole run will take, as its first steps tell
    "overrun": (
        "seconds",
        "message",
        "action",
    ),  # it would pass the budget: `ask` whoever watches, `stop`, or `continue`
    "budget": ("share", "message"),  # 80 % of a limit are used
    "limit": ("message",),  # a budget ended the training early
    "early_stop": ("message",),  # the evaluations get no better
    "diverged": ("reason", "rows", "return_to"),  # rows skipped from here on; the step gone back to, null when it ends
    "stalled": ("seconds", "phase"),  # nothing moved for so long
    "slow": ("message", "cause"),  # the GPU idles, or steps take twice as long as they should
    "crashed": ("exit_code", "error", "action"),  # the trainer ended without meaning to; what the agent does about it
    "trained": ("steps", "seconds", "tokens"),
    "delivered": ("path", "step"),  # adapter/ is written
    "scoring": ("part", "done", "total"),  # progress of the evaluation at the end
    "scored": ("scores",),  # since gates: `gates`, each with what was asked and reached
    "smoke": ("check", "passed", "message"),  # one check of a smoke run: `checkpoint loads`, `memory as expected`
    "finished": ("seconds",),
    "failed": ("error", "hint", "exit_code"),
    "stopped": (
        "reason",
        "cause",
    ),  # by the `person`, by the `budget`, or `preempted` by the machine that wants itself back
}
"""Each kind of event with the fields it always has."""

CONTROLLERS = frozenset(
    {
        "created",
        "checked",
        "data",
        "waiting",
        "rented",
        "sent",
        "ready",
        "lost",
        "copied",
        "fetched",
        "handed",
        "over",
        "returned",
        "may_bill",
    }
)
"""Kinds that only whoever rents machines writes; a machine that tells of them lies."""
ENDINGS = ("finished", "failed", "stopped")

_FREQUENT = frozenset({"step", "scoring"})
"""Kinds that come so often that waiting for the disk at each would cost time; a power cut may take the last ones."""


@dataclass(frozen=True)
class Event:
    """One fact: number, time (UTC, seconds since 1970), attempt, step and what the kind says."""

    seq: int
    at: float
    kind: str
    attempt: int = 1
    step: int | None = None
    data: dict[str, Any] = field(default_factory=dict[str, Any])
    told: int | None = None
    """Its number in the file of the rented machine that wrote it; None for what was written here."""


_FIELDS = frozenset(item.name for item in fields(Event))


class EventLog:
    """Appends to one run's `events.jsonl`. One writer at a time; a torn last line is cut on opening."""

    def __init__(self, path: Path, *, attempt: int = 1, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self.attempt = attempt
        """Written into every event; whoever supervises raises it."""
        self._clock = clock
        self._seq = _cut_torn_line(path)

    def append(self, kind: str, *, step: int | None = None, **data: Any) -> Event:
        """Writes one event, without secrets. Any but a `step` or `scoring` outlives a power cut once this returns.

        Raises ValueError for an unknown kind or a missing field, and OSError where the disk refuses: then nothing is written.
        """
        given = data if step is None else {**data, "step": step}
        missing = [name for name in KINDS[kind] if name not in given] if kind in KINDS else None
        if missing is None or missing:
            raise ValueError(f"event {kind!r} lacks {missing}" if missing else f"no kind of event is called {kind!r}")
        return self._write([Event(self._seq + 1, self._clock(), kind, self.attempt, step, mask_values(data))])[0]

    def mirror(self, event: Event) -> Event:
        """Writes an event of a rented machine, which keeps its time, attempt and step, and gets a number of its own here."""
        return self.mirror_all([event])[0]

    def mirror_all(self, events: Sequence[Event]) -> list[Event]:
        """Writes several as `mirror` does, with one wait for the disk: all of them, or none where the disk refuses."""
        return self._write(
            [
                replace(event, seq=number, data=mask_values(event.data), told=event.seq)
                for number, event in enumerate(events, start=self._seq + 1)
            ]
        )

    def _write(self, events: list[Event]) -> list[Event]:
        if events:
            durable = any(event.kind not in _FREQUENT for event in events)
            _append(self._path, b"".join(_line(event) for event in events), durable=durable)
            self._seq = events[-1].seq
        return events


def _line(event: Event) -> bytes:
    facts = asdict(event)
    if event.told is None:
        del facts["told"]
    line = json.dumps(facts, ensure_ascii=False) + "\n"
    # A lone surrogate in users' data cannot be UTF-8; backslashreplace writes just the escape that JSON has for it.
    return line.encode("utf-8", "backslashreplace")


def read(path: Path, *, after: int = 0) -> Iterator[Event]:
    """Every whole event with a number above `after`, in order; a torn last line is left out."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.endswith(b"\n") and (event := _parse(line, path, number)).seq > after:
                yield event


def last_number(path: Path) -> int:
    """The number of the last whole event; 0 where there is none."""
    whole = path.read_bytes().rpartition(b"\n")[0] if path.exists() else b""
    return _parse(whole.rpartition(b"\n")[2], path, whole.count(b"\n") + 1).seq if whole else 0


def last(path: Path) -> Event | None:
    """The last whole event, read from the file's end; None where there is none."""
    if not path.exists():
        return None
    size = path.stat().st_size
    for wanted in (1 << 14, size):
        with path.open("rb") as file:
            file.seek(max(0, size - wanted))
            whole, newline, _ = file.read(wanted).rpartition(b"\n")
        before, found, line = whole.rpartition(b"\n")
        if newline and (found or wanted >= size):
            return _parse(line, path, whole.count(b"\n") + 1) if line or before else None
    return None


def last_attempt(path: Path) -> int:
    """The highest attempt that events are of; 1 where there are none."""
    return max((event.attempt for event in read(path)), default=1)


def sync(path: Path) -> None:
    """Returns when all events that are written outlive a power cut, also those that did not wait for the disk."""
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def follow(path: Path, *, ended: Callable[[], bool], after: int = 0, pause: float = 0.2) -> Iterator[Event]:
    """Events as they come, read from where the last read stopped, until `ended()` and nothing is left.

    Sleeps `pause` seconds between reads.
    """
    tail = Tail(path, after=after)
    while True:
        last_round = ended()
        yield from tail.read()
        if last_round:
            return
        time.sleep(pause)


class Tail:
    """A run's events from one on, read as far as they are written; each read goes on where the last one stopped."""

    def __init__(self, path: Path, *, after: int = 0) -> None:
        self._path = path
        self._after = after
        self._position = 0
        self._lines = 0

    def read(self) -> Iterator[Event]:
        """The whole events that were added since."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._position)
            whole = file.read().rpartition(b"\n")[0]
        self._position += len(whole) + 1 if whole else 0
        for line in whole.split(b"\n") if whole else ():
            self._lines += 1
            if (event := _parse(line, self._path, self._lines)).seq > self._after:
                yield event


def _parse(line: bytes, path: Path, number: int) -> Event:
    """One line as an event; fields that a newer lorry added are left out. Raises InputError for anything else."""
    try:
        found = json.loads(line)
        return Event(**{key: value for key, value in found.items() if key in _FIELDS})
    except (ValueError, TypeError, AttributeError) as error:
        hint = "the file was changed or damaged; what stands before this line can be kept by cutting it there"
        raise InputError("this line is not an event", place=f"{path}:{number}", hint=hint) from error


def _append(path: Path, line: bytes, *, durable: bool) -> None:
    """Writes lines whole or, when the disk is full, not at all, so that the next one does not continue half of one.

    What may not have reached the disk is taken back as well: whoever is told of an error writes it again.
    """
    with path.open("ab", buffering=0) as file:
        before = file.seek(0, os.SEEK_END)
        try:
            while line:
                line = line[file.write(line) :]
            if durable:
                os.fsync(file.fileno())
            if not before:
                _sync_folder(path.parent)
        except OSError:
            file.truncate(before)
            raise


def _sync_folder(path: Path) -> None:
    """Has a new file outlive a power cut by its name as well. Windows opens no folders, and sees to it by itself."""
    if os.name == "nt":
        return
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _cut_torn_line(path: Path) -> int:
    """Drops what follows the last newline; returns the last event's number, 0 for a new file."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        return 0
    content = path.read_bytes()
    whole = content.rpartition(b"\n")[0]
    if len(content) > len(whole) + 1 or (content and not content.endswith(b"\n")):
        os.truncate(path, len(whole) + 1 if whole else 0)
    return last_number(path)
