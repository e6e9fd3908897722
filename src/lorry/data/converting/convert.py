"""One conversion, from files to files: read, converted, compared, split, and put into place."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from lorry.data import files
from lorry.data.alike.repeats import LIKENESS, Sketcher, Text, Told, near_prompts_between, near_rows_between
from lorry.data.bad_rows import BadRows
from lorry.data.converters._base import Converter, Made, Source, digest
from lorry.data.converting.choose import chosen
from lorry.data.converting.exchanges import exchanges, sole
from lorry.data.converting.outputs import Outputs, hashes, put_in_place, scratch
from lorry.data.converting.room import Room
from lorry.data.converting.shelf import Shelf
from lorry.data.converting.state import InPlaceOf, Sources, State
from lorry.data.readers.blob import RawRow
from lorry.errors import DataError

_COMPARED = 20_000
"""Pairs of rows on both sides of a split that are compared letter by letter; sketches decide about the rest."""


_TOLD_EVERY = 1000


@dataclass(frozen=True)
class Wish:
    """What is asked of a conversion beside the converter's own settings."""

    outputs: Outputs
    seed: int = 0
    test: float = 0
    """Share of the input whose rows are held back."""
    drop_near: float | None = None
    skip_bad: bool = False
    update: bool = False
    force: bool = False
    watch: Callable[[str], None] = lambda _: None
    """Is told how far it is, every now and then."""


@dataclass
class Outcome:
    """What came of it; `vars` gives JSON."""

    converter: str
    read: int = 0
    bad_rows: int = 0
    bad_row_lines: list[str] = field(default_factory=list[str])
    rows: int = 0
    test_rows: int = 0
    new_rows: int | None = None
    """Rows of what is new since the last conversion; None where there was none."""
    changes: dict[str, int] | None = None
    settings_changed: bool = False
    left_out: dict[str, int] = field(default_factory=dict[str, int])
    repeated_rows: int = 0
    near_duplicates: int = 0
    near_duplicates_dropped: bool = False
    leakage: dict[str, int] | None = None
    """Test rows that are near training rows or stand in one as a turn and its answer (`rows`), or whose prompts alone are near
    one (`prompts`); None without test rows."""
    notes: list[str] = field(default_factory=list[str])
    warnings: list[str] = field(default_factory=list[str])


def convert(name: str, settings: Mapping[str, Any], named: Sequence[str], wish: Wish) -> Outcome:
    """Converts the files that are named with the converter `name`; `auto` is the one that knows the first row.

    Raises DataError for rows that cannot be used unless they are to be skipped, and InputError for files that must not be
    written. Nothing is changed then.
    """
    base = Path.cwd()
    blobs = files.find(named, base)
    outputs = wish.outputs
    outputs.must_not_be([base / blob.name for blob in blobs])
    with scratch(outputs.rows) as aside:
        earlier = outputs.earlier(update=wish.update, force=wish.force)
        room = Room(aside, base, seed=wish.seed, test=wish.test, drop_near=wish.drop_near)
        rows = _counted(files.read(blobs, room.bad), room, wish.watch)
        converter, rows = chosen(name, settings, rows, room)
        with Shelf(aside / "all") as shelf:
            conversion = _Conversion(room, shelf, is_compared=converter.compares_rows or wish.test > 0)
            conversion.take(converter.convert(rows, room), wish.watch)
            room.warnings += outputs.left_behind()
            _judge(room, wish)
            return conversion.finish(converter, wish, earlier)


def _counted(rows: Iterator[RawRow], room: Room, watch: Callable[[str], None]) -> Iterator[RawRow]:
    while True:
        before = room.bad.count
        row = next(rows, None)
        room.read += room.bad.count - before  # what is no row is not given
        if row is None:
            return
        room.read += 1
        if room.read % _TOLD_EVERY == 0:
            watch(f"{room.read:,} read")
        yield row


def _judge(room: Room, wish: Wish) -> None:
    """Raises DataError for bad rows that are not to be skipped."""
    bad: BadRows = room.bad
    if bad.count and not wish.skip_bad:
        error = bad.error(room.read)
        raise DataError(
            error.message, place=error.place, hint=error.hint.replace("-o data.on_bad_row=skip", "--skip-bad")
        )


class _Conversion:
    """Rows on a shelf, and what is known of each."""

    def __init__(self, room: Room, shelf: Shelf, *, is_compared: bool) -> None:
        self._room, self._shelf, self._is_compared = room, shelf, is_compared
        self._is_test = bytearray()
        self._sketcher = Sketcher()
        self._seen: dict[int, int] = {}
        self._in_place_of = InPlaceOf()
        self._repeated = 0

    def take(self, made: Iterator[Made], watch: Callable[[str], None]) -> None:
        """Puts every row by that is not there already."""
        for one in made:
            key = int(digest(one.asks, one.answers, one.apart), 16)
            is_test = self._room.side(one.group) == "test"
            if (kept := self._seen.get(key)) is not None:
                self._repeated += 1
                if is_test == self._is_test[kept]:
                    self._in_place_of.add(kept, one.sources)
                continue
            self._seen[key] = len(self._shelf)
            if len(self._seen) % _TOLD_EVERY == 0:
                watch(f"{len(self._seen):,} rows made")
            sources = [[source.key, source.state] for source in one.sources]
            self._shelf.append([one.row, one.asks, one.answers, sources, one.about])
            self._is_test.append(is_test)
            if self._is_compared:
                self._sketcher.add(one.asks, one.answers, one.apart)

    def finish(self, converter: Converter, wish: Wish, earlier: State | None) -> Outcome:
        """Compares, writes, puts into place and tells."""
        wish.watch("looking for what is alike")
        told = self._sketcher.told(lambda index: tuple(self._shelf[index][1:3]))
        repeated, drop = self._room.repeats(told) if converter.compares_rows else ({}, False)
        stays = np.ones(len(self._shelf), dtype=np.bool_)
        stays[[*repeated] if drop else []] = False
        for later, kept in repeated.items() if drop else ():
            if self._is_test[later] == self._is_test[kept]:
                self._in_place_of.take_over(kept, later, self._sources(later))
        test = np.frombuffer(bytes(self._is_test), dtype=np.bool_) & stays
        train = stays & ~test
        self._must_not_be_empty(train)
        settings = {"from": type(converter).name, "seed": wish.seed, "test": wish.test, "drop": wish.drop_near}
        settings |= converter.model_dump(mode="json")
        sources, new_rows = self._write(train, test, earlier)
        made = self._made(wish.outputs)
        state = State(hashes(made), {}, settings, sources)
        leakage = self._leakage(replace(told, text=self._asked_about), test, train) if wish.test else None
        put_in_place(made, earlier, state, self._room.folder)
        room = self._room
        return Outcome(
            converter=type(converter).name,
            read=room.read,
            bad_rows=room.bad.count,
            bad_row_lines=room.bad.lines(),
            rows=int(train.sum()),
            test_rows=int(test.sum()),
            new_rows=new_rows if earlier or wish.outputs.new else None,
            changes=sources.changes_from(earlier.sources) if earlier else None,
            settings_changed=earlier is not None and dict(earlier.settings) != settings,
            left_out=dict(room.left_out),
            repeated_rows=self._repeated,
            near_duplicates=room.near_duplicates,
            near_duplicates_dropped=wish.drop_near is not None,
            leakage=leakage,
            notes=room.notes,
            warnings=room.warnings,
        )

    def _asked_about(self, index: int) -> Text:
        """What a row asks, under what it asks about, and what it answers."""
        _, asks, answers, _, about = self._shelf[index]
        return f"{about}\n{asks}" if about else asks, answers

    def _must_not_be_empty(self, train: Any) -> None:
        if not train.any():
            why = ", ".join(f"{reason}: {count:,}" for reason, count in self._room.left_out.most_common())
            raise DataError(f"no rows to train on are left{f' ({why})' if why else ''}", hint=_EMPTY)

    def _write(self, train: Any, test: Any, earlier: State | None) -> tuple[Sources, int]:
        """Writes the rows into the scratch folder; what they were made of, and how many are of new sources."""
        sources, new_rows = Sources(), 0
        with (
            (self._room.folder / "rows").open("w", encoding="utf-8") as rows,
            (self._room.folder / "test").open("w", encoding="utf-8") as held,
            (self._room.folder / "new").open("w", encoding="utf-8") as new,
        ):
            for index in np.flatnonzero(train | test).tolist():
                line = _dumped(self._shelf[index][0])
                (rows if train[index] else held).write(line)
                same = [self._sources(index), *self._in_place_of[index]]
                for source in chain.from_iterable(same):
                    sources.add(source)
                if train[index] and not (earlier and any(all(map(earlier.sources.holds, one)) for one in same)):
                    new.write(line)
                    new_rows += 1
        return sources, new_rows

    def _sources(self, index: int) -> tuple[Source, ...]:
        return tuple(Source(*one) for one in self._shelf[index][3])

    def _made(self, outputs: Outputs) -> dict[Path, Path]:
        named = (("rows", outputs.rows), ("test", outputs.test), ("new", outputs.new))
        return {self._room.folder / name: place for name, place in named if place is not None}

    def _leakage(self, told: Told, test: Any, train: Any) -> dict[str, int]:
        held, learnt = told.of(np.flatnonzero(test)), told.of(np.flatnonzero(train))
        rows = near_rows_between(held, learnt, LIKENESS, _COMPARED)
        prompts = near_prompts_between(held, learnt, LIKENESS, _COMPARED)
        leaked = rows.keys() | self._within_others(np.flatnonzero(test).tolist(), np.flatnonzero(train).tolist())
        return {"rows": len(leaked), "prompts": len(prompts.keys() - leaked)}

    def _within_others(self, test: list[int], train: list[int]) -> set[int]:
        """Which of the test rows, by their places in the list, are a turn and its answer of a training row."""
        learnt = {one for index in train for one in exchanges(self._shelf[index][0]["messages"])}
        return {place for place, index in enumerate(test) if sole(self._shelf[index][0]["messages"]) in learnt}


def _dumped(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"


_EMPTY = "look at what was left out and why; `-o SETTING=VALUE` changes a converter's thresholds"
