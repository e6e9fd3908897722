"""Dated notes, or a diary, to questions and answers in the writer's own voice.

    {"timestamp": "2024-03-01T21:30:00+01:00", "content": "Rain all day. ...", "tags": ["music"], "entities": ["Anna"]}

Each entry answers several questions: what happened on its day (`day`), a request for an entry about its tags (`topic`), from
which day a sentence is (`when`), how it goes on (`continue`, which also has what is too long for one answer). Names that are
mentioned are asked about too (`about`): the answer has sentences of up to three entries, each with its day. Recent entries give
more rows than old ones, and those about rare subjects more than those about what stands on every page. Entries that repeat
another are left out.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar
from zoneinfo import ZoneInfo

import numpy as np
from pydantic import AfterValidator, Field, model_validator

from lorry.data.bad_rows import BadRowError
from lorry.data.converters._base import Converter, Made
from lorry.data.converting.room import Room
from lorry.data.diary.days import Calendar, moment, seconds
from lorry.data.diary.entry import Entry, entry_of, is_entry
from lorry.data.diary.notebook import Notebook
from lorry.data.diary.people import People
from lorry.data.diary.quality import quality
from lorry.data.diary.questions import Kind, wordings
from lorry.data.diary.rows import Asking
from lorry.data.diary.weights import Weighing, Weights, number_of_rows, strongest
from lorry.data.readers.blob import RawRow


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, LookupError) as error:
        raise ValueError(
            f"`{name}` is no time zone; they look like Europe/London (on Windows: `pip install tzdata`)"
        ) from error
    return name


def _date(text: str) -> str:
    try:
        moment(text, "as_of", None)
    except BadRowError as error:
        raise ValueError(error.message) from error
    return text


class Diary(Converter):
    """Dated notes to questions that the writer answers: of days, people, subjects."""

    compares_rows: ClassVar[bool] = False

    author: str = Field(default="the writer of this diary", min_length=1)
    """Who answers; stands in the system prompt."""
    kinds: list[Kind] = Field(default=["day", "topic", "when", "continue", "about"], min_length=1)
    """Which questions are asked."""
    wordings: str | None = None
    """A YAML file with questions in other words or another language, relative to where the command is called."""
    least_rows: int = Field(default=1, ge=0)
    """Rows that even the oldest entry gives; 0 lets old ones fall out."""
    most_rows: int = Field(default=4, ge=1)
    """Rows that an entry of full weight gives; what is too long for one answer adds to them."""
    half_life: float | None = Field(default=365.0, gt=0)
    """Days after which an entry has half the weight; null for all alike."""
    as_of: Annotated[str, AfterValidator(_date)] | None = None
    """The day from which ages count; null for that of the newest entry."""
    balance: float = Field(default=0.5, ge=0, le=1)
    """How much weight entries about common subjects lose: 0 for none, 1 until each subject weighs the same. An entry's subject
    is its rarest tag."""
    max_rows: int | None = Field(default=None, ge=1)
    """Rows of single entries, drawn by weight; null for all that the weights give."""
    min_quality: float = Field(default=0.5, ge=0, le=1)
    """Entries below are left out. Quality is the lowest of four shares, each at most 1: letters against `good_length`; letters
    among all signs against 0.7; different runs of three words against 0.5; what is outside of runs of more than 60 signs."""
    good_length: int = Field(default=80, ge=1)
    """Letters from which an entry is long enough."""
    longest: int = Field(default=3000, ge=200)
    """Letters of an answer; a longer entry goes on in the answers to further questions, eight in all."""
    names: int = Field(default=300, ge=0)
    """Of so many of the names in `entities` that are mentioned most is asked."""
    calendar: Calendar = "gregorian"
    """The calendar that the writer used; `julian` moves Gregorian timestamps back, as for Pepys."""
    timezone: Annotated[str, AfterValidator(_zone)] | None = None
    """Where the writer lived (`Europe/London`), for timestamps in UTC; null takes days as they are written."""

    @model_validator(mode="after")
    def _least_below_most(self) -> Diary:
        if self.least_rows > self.most_rows:
            raise ValueError("least_rows is above most_rows")
        return self

    def matches(self, raw: dict[str, Any]) -> bool:
        """Has a time and a text."""
        return is_entry(raw)

    def convert(self, rows: Iterator[RawRow], room: Room) -> Iterator[Made]:
        """Reads all entries, puts the good ones by, and asks about each; then about names."""
        asking = Asking(wordings(self.wordings, room.base), self.author, tuple(self.kinds), self.longest, room)
        with Notebook(room) as notebook:
            for entry in self._good(rows, room):
                notebook.add(entry)
            notebook.settle()
            weights, chosen = self._weights(notebook, room), None
            numbers = [
                number_of_rows(weight, self.least_rows, self.most_rows, room.draw("rows", key))
                for weight, key in zip(weights.tolist(), notebook.keys, strict=True)
            ]
            people = People(notebook.names, self.names if "about" in self.kinds else 0, self.longest // 3)
            if self.max_rows is not None:
                chosen = self._chosen(notebook, asking, numbers, weights)
            for index, (entry, group) in enumerate(notebook.entries()):
                if room.side(group) == "train":  # a name asked about on both sides would give its answer away
                    people.note(entry, group)
                for place, (kind, asked, answer) in enumerate(asking.first_rows(entry, notebook.tags, numbers[index])):
                    if chosen is None or (index, place) in chosen:
                        yield asking.made(kind, asked, answer, [entry], group)
            for name, found, group in people.remembered():
                yield asking.mentioned(name, found, group)

    def _good(self, rows: Iterator[RawRow], room: Room) -> Iterator[Entry]:
        zone = ZoneInfo(self.timezone) if self.timezone else None
        for raw, origin in rows:
            try:
                entry = entry_of(raw, self.calendar, zone)
            except BadRowError as error:
                room.bad.add(origin, error)
                continue
            score, rule = quality(entry.text, self.good_length)
            if score < self.min_quality or not entry.text:
                room.left_out[rule] += 1
            else:
                yield entry

    def _weights(self, notebook: Notebook, room: Room) -> Weights:
        now = float(notebook.at.max(initial=-np.inf))
        if self.as_of is not None:
            now = seconds(moment(self.as_of, "as_of", None))
        elif now > datetime.now(UTC).timestamp() + 86_400:
            room.warnings.append("the newest entry lies in the future, and ages count from it: see the setting `as_of`")
        return Weighing(self.half_life, self.balance).weights(notebook.at, notebook.subjects, now)

    def _chosen(self, notebook: Notebook, asking: Asking, numbers: list[int], weights: Weights) -> set[tuple[int, int]]:
        """Which rows are drawn: the number of the entry, and that of the row among its own."""
        places: list[tuple[int, int]] = []
        draws = array("d")
        for index, (entry, _) in enumerate(notebook.entries()):
            for place, (kind, _, _) in enumerate(asking.first_rows(entry, notebook.tags, numbers[index])):
                places.append((index, place))
                draws.append(asking.room.draw("chosen", entry.source.key, kind))
        of_rows = weights[[index for index, _ in places]]
        marked = strongest(of_rows, np.array(draws), self.max_rows or len(places))
        return {place for place, is_chosen in zip(places, marked.tolist(), strict=True) if is_chosen}
