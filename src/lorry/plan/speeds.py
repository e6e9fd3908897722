"""How fast runs have trained, by device, which corrects estimates; kept in lorry's home as a file that can be shared."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Annotated

from filelock import FileLock
from pydantic import Field, TypeAdapter, ValidationError

from lorry.errors import InputError
from lorry.plan import gpus
from lorry.plan.expected import FIRST, Expected, of_run
from lorry.plan.ranges import Range
from lorry.track.events import Event, read
from lorry.track.folder import RunFolder, home
from lorry.track.state import RunState, state

_NEWEST = 8
"""Runs that an estimate looks at: drivers and lorry itself get faster."""
_PARAMETERS = 3.0
_TOKENS = 4.0
"""Up to how many times as many parameters, and tokens at once, count as alike: a GPU computes small products less well."""
_UNSURE = 0.15
"""By how much a run may be slower or faster than one like it, where only one is known."""


@dataclass(frozen=True)
class Kind:
    """What runs must be alike in for one to tell something of the other."""

    device: str
    numbers: str
    """What products are computed in, as in `Expected`."""
    parameters: float
    """Those that a token meets."""
    tokens_at_once: float


@dataclass(frozen=True)
class Reached:
    """What one run has reached. Tells sizes and speeds, and nothing else of it."""

    id: str
    """Of chance: says that two lines are of one run, and not of which."""
    day: str
    device: str
    numbers: str
    parameters: Annotated[float, Field(ge=1e3, le=1e15)]
    """In two digits, which do not tell one model from another of its size."""
    tokens_at_once: Annotated[float, Field(ge=1, le=1e9)]
    flops: Annotated[float, Field(ge=1e3, le=1e18)]
    """FLOP/s of training, as the plan counts them."""
    scoring: Annotated[float, Field(ge=1e-3, le=1e3)] | None = None
    """How many times longer scoring took than its arithmetic says for a device that trains so fast; None without answers."""


_ADAPTER = TypeAdapter(Reached)


@dataclass(frozen=True)
class Pace:
    """What runs like a planned one have reached on its device."""

    flops: Range
    scoring: Range


def place() -> Path:
    """The file: a line a run, in JSON."""
    return home() / "speeds.jsonl"


def known() -> list[Reached]:
    """All that is known, the oldest first; nothing where the file cannot be read, for estimates can do without."""
    try:
        return _in_lines(place().read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return []


def read_file(path: Path) -> list[Reached]:
    """The runs in a file; lines that are none are left out. Raises InputError where it cannot be read, or has none."""
    hint = "give what `lorry speeds --save FILE` wrote on another machine"
    try:
        found = _in_lines(path.read_text(encoding="utf-8", errors="replace"))
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", place=str(path), hint=hint) from error
    if not found:
        raise InputError("has no speeds of runs", place=str(path), hint=hint)
    return found


def add(more: Iterable[Reached]) -> int:
    """Adds runs that are not known yet, or not so; how many there were. Of two lines of one run the later counts."""
    place().parent.mkdir(parents=True, exist_ok=True)
    with FileLock(place().with_suffix(".lock")):
        before = set(known())
        new = list(dict.fromkeys(one for one in more if one not in before))
        if new:
            with place().open("a", encoding="utf-8") as file:
                # An empty line before: whatever a full disk left of the last one must not spoil these.
                file.write("\n" + lines(new))
    return len(new)


def lines(runs: Iterable[Reached]) -> str:
    """Runs as they are kept and shared."""
    return "".join(json.dumps(asdict(one)) + "\n" for one in runs)


def learn(folder: RunFolder) -> None:
    """Keeps what a finished run has reached, if it tells something. Doing it again changes nothing.

    A run does not fail for it: where the file cannot be written, the next plan just knows less.
    """
    expected = of_run(folder)
    found = reached(expected, list(read(folder.events))) if expected else None
    if found:
        with suppress(OSError):
            add([found])


def reached(expected: Expected, events: Sequence[Event]) -> Reached | None:
    """What a run's events tell of its speed; None for one that was too short, or did not compute what was planned."""
    now = state(events)
    trained = now.latest.get("trained")
    if trained is None or "rollout" in now.latest or not _is_as_planned(expected, events):
        return None  # of a run that answers its own prompts most time goes into that, and it tells little of training
    steps, tokens = int(trained["steps"]), float(trained["tokens"])
    evaluating = sum(float(event.data.get("seconds", 0.0)) for event in now.evaluations.values())
    seconds = float(trained["seconds"]) - evaluating
    if steps < FIRST or seconds <= 0 or tokens <= 0:
        return None
    try:
        return _ADAPTER.validate_python(
            {
                "id": expected.id,
                "day": f"{datetime.fromtimestamp(now.updated_at or 0.0, UTC):%Y-%m-%d}",
                "device": expected.device,
                "numbers": expected.numbers,
                "parameters": float(f"{expected.parameters:.2g}"),
                "tokens_at_once": round(expected.tokens_at_once),
                "flops": expected.flops * tokens / expected.tokens / seconds,
                "scoring": _scoring(expected, now, events, expected.slower(seconds / tokens)),
            }
        )
    except ValidationError:
        return None


def like(runs: Iterable[Reached], planned: Kind) -> Pace | None:
    """What those runs have reached that are like a planned one; None where there are none."""
    alike = [
        one
        for one in runs
        if (one.device, one.numbers) == (planned.device, planned.numbers)
        and _within(one.parameters, planned.parameters, _PARAMETERS)
        and _within(one.tokens_at_once, planned.tokens_at_once, _TOKENS)
    ]
    newest = sorted(alike, key=lambda one: one.day)[-_NEWEST:]
    if not newest:
        return None
    scored = [one.scoring for one in newest if one.scoring]
    scoring = _spread(scored) if scored else Range(0.5, 1.0, 2.0)
    return Pace(_spread([one.flops for one in newest]), scoring)


def _is_as_planned(expected: Expected, events: Sequence[Event]) -> bool:
    """Whether every attempt ran on the planned device, on the planned memory rung."""
    rungs = {
        (event.data["micro_batch"], event.data["activation_checkpointing"]) for event in events if event.kind == "rung"
    }
    devices = {_known_as(event) for event in events if event.kind == "loaded"}
    return rungs == {(expected.micro_batch, expected.activation_checkpointing)} and devices == {expected.device}


def _known_as(loaded: Event) -> str:
    """What the plan calls the device that a model was loaded on."""
    name = str(loaded.data.get("device_name", ""))
    if not str(loaded.data["device"]).startswith("cuda"):
        return name
    card = gpus.at_hand(name, int(loaded.data.get("device_memory", 0)))
    return card.name if card else name


def _scoring(expected: Expected, now: RunState, events: Sequence[Event], slower: float) -> float | None:
    """From the delivery to the scores, by what is planned without what earlier runs made of it."""
    ends = {event.kind: event.at for event in events if event.kind in ("delivered", "scored")}
    planned = slower * expected.duration.scoring.likely / expected.scoring_factor
    if "scored" not in ends or now.attempt > 1 or planned <= 0 or ends["scored"] <= ends["delivered"]:
        return None
    return (ends["scored"] - ends["delivered"]) / planned


def _spread(values: Sequence[float]) -> Range:
    middle = median(values)
    return Range(min(*values, (1 - _UNSURE) * middle), middle, max(*values, (1 + _UNSURE) * middle))


def _within(one: float, other: float, times: float) -> bool:
    return max(one, other) <= times * min(one, other)


def _in_lines(text: str) -> list[Reached]:
    """Each run once, as its last line tells it."""
    found = [one for line in text.splitlines() if (one := _parsed(line))]
    return list({one.id: one for one in found}.values())


def _parsed(line: str) -> Reached | None:
    try:
        return _ADAPTER.validate_json(line)
    except ValidationError:
        return None
