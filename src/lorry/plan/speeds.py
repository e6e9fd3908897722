"""How fast runs have trained, by device, which corrects estimates; kept in lorry's home as a file that can be shared."""

from __future__ import annotations

import hashlib
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
from lorry.plan.expected import FIRST, Expected, of_run
from lorry.plan.ranges import Range
from lorry.track.events import Event, read
from lorry.track.folder import RunFolder, home

_NEWEST = 8
"""Runs that an estimate looks at: drivers and lorry itself get faster."""
_PARAMETERS = 3.0
_TOKENS = 4.0
"""Up to how many times as many parameters, and tokens at once, count as alike: a GPU computes small products less well."""
_UNSURE = 0.15
"""By how much a run may be slower or faster than one like it, where only one is known."""

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class Reached:
    """What one run has reached. Tells nothing of the run but sizes."""

    id: str
    """Says that two lines are of one run, and not of which."""
    day: str
    device: str
    numbers: str
    """What products were computed in, as in `Expected`."""
    parameters: Positive
    """Those that a token meets."""
    tokens_at_once: Positive
    flops: Positive
    """FLOP/s of training, as the plan counts them."""
    scoring: Positive | None = None
    """How many times longer scoring took than the plan says for a device that trains so fast; None where nothing was scored."""


_ADAPTER = TypeAdapter(Reached)


@dataclass(frozen=True)
class Pace:
    """What runs like a planned one have reached on its device."""

    flops: Range
    scoring: Range
    runs: int


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
    """Adds runs that are not known yet; how many there were."""
    place().parent.mkdir(parents=True, exist_ok=True)
    with FileLock(place().with_suffix(".lock")):
        ids = {one.id for one in known()}
        new = list({one.id: one for one in more if one.id not in ids}.values())
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
    found = reached(folder.id, expected, list(read(folder.events))) if expected else None
    if found:
        with suppress(OSError):
            add([found])


def reached(run: str, expected: Expected, events: Sequence[Event]) -> Reached | None:
    """What a run's events tell of its speed; None for one that was too short, or did not compute as planned."""
    trained = _last(events, "trained")
    rungs = {
        (event.data["micro_batch"], event.data["activation_checkpointing"]) for event in events if event.kind == "rung"
    }
    if trained is None or len(rungs) != 1 or next(iter(rungs))[0] != expected.micro_batch:
        return None
    steps, tokens = int(trained.data["steps"]), float(trained.data["tokens"])
    evaluating = sum(float(event.data.get("seconds", 0.0)) for event in events if event.kind == "evaluated")
    seconds = float(trained.data["seconds"]) - evaluating
    if steps < FIRST or seconds <= 0 or not tokens:
        return None
    flops = expected.flops * tokens / expected.tokens
    return Reached(
        id=hashlib.sha256(run.encode()).hexdigest()[:16],
        day=f"{datetime.fromtimestamp(trained.at, UTC):%Y-%m-%d}",
        device=expected.device,
        numbers=expected.numbers,
        parameters=expected.parameters,
        tokens_at_once=expected.tokens_at_once,
        flops=flops / seconds,
        scoring=_scoring(
            expected, events, slower=seconds / tokens * expected.tokens / expected.duration.training.likely
        ),
    )


def like(runs: Iterable[Reached], device: str, numbers: str, parameters: float, tokens_at_once: float) -> Pace | None:
    """What those runs have reached that are like a planned one; None where there are none."""
    alike = [
        one
        for one in runs
        if one.device == device
        and one.numbers == numbers
        and _within(one.parameters, parameters, _PARAMETERS)
        and _within(one.tokens_at_once, tokens_at_once, _TOKENS)
    ][-_NEWEST:]
    if not alike:
        return None
    scored = [one.scoring for one in alike if one.scoring]
    return Pace(_spread([one.flops for one in alike]), _spread(scored) if scored else Range(0.5, 1.0, 2.0), len(alike))


def _spread(values: Sequence[float]) -> Range:
    middle = median(values)
    return Range(min(*values, (1 - _UNSURE) * middle), middle, max(*values, (1 + _UNSURE) * middle))


def _scoring(expected: Expected, events: Sequence[Event], slower: float) -> float | None:
    delivered, scored = _last(events, "delivered"), _last(events, "scored")
    planned = slower * expected.duration.scoring.likely
    if delivered is None or scored is None or scored.at <= delivered.at or planned <= 0:
        return None
    return (scored.at - delivered.at) / planned


def _last(events: Sequence[Event], kind: str) -> Event | None:
    return next((event for event in reversed(events) if event.kind == kind), None)


def _within(one: float, other: float, times: float) -> bool:
    return max(one, other) <= times * min(one, other)


def _in_lines(text: str) -> list[Reached]:
    return [one for line in text.splitlines() if (one := _parsed(line))]


def _parsed(line: str) -> Reached | None:
    try:
        return _ADAPTER.validate_json(line)
    except ValidationError:
        return None
