"""F1 of JSON fields: how many of the fields that should be there are there, with the right value, and how many others."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

from pydantic import Field

from lorry.evaluate.metrics._base import About, Answer, Metric, Ratio, Score
from lorry.evaluate.metrics._json import parsed

_NUMBER = re.compile(r"[+-]?(?:0|[1-9]\d*)(?:\.\d+)?", re.ASCII)
"""What begins with a zero, as codes do, is no number."""


@dataclass
class Node:
    """Fields of a value: its own, as path and value, and those of the objects in its lists, by the list's path."""

    leaves: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    items: dict[str, list[Node]] = field(default_factory=dict[str, "list[Node]"])
    total: int = 0
    """All of them."""


class FieldF1(Metric):
    """Micro F1 over the fields of JSON answers: pairs of a path and a value, over all answers together.

    `{"total": "9.00", "items": [{"name": "tea"}]}` has two: `total` with 9, and `items[].name` with `tea`. The order of a
    list's items does not count, nor does that of keys; what stands twice must stand twice. Objects in lists are paired one to
    one, first those with most fields in common, and their fields count within pairs: the price of one item is no hit for
    another. An answer that is no JSON has no fields: all of the row's are missed. A row whose own answer is no JSON is left
    out.
    """

    unit: ClassVar[str] = "F1"
    needs_truth: ClassVar[bool] = True
    parts: ClassVar[Mapping[str, About]] = {
        "precision": About(unit="share of the answers' fields"),
        "recall": About(unit="share of the rows' fields"),
    }
    fields: list[str] = Field(default_factory=list[str])
    """Only these paths count, and what lies below them: `[total, items]`; empty for all."""
    ignore_case: bool = False
    """Upper and lower case of values are the same."""
    numbers: bool = True
    """Numbers are compared by value, those in strings too: `"9.00"`, `9` and `"9"` are the same."""
    ordered: bool = False
    """Items of lists are told apart by their place."""
    allow_fenced: bool = True
    """JSON inside one Markdown fence, with nothing around it, counts as well."""

    def score(self, answer: Answer) -> Score:
        """Twice the hits by the fields of both."""
        counted = self._counted(answer)
        if counted is None:
            return None
        hits, said, there = counted
        return Ratio(2 * hits, said + there)

    def score_parts(self, answer: Answer) -> Mapping[str, Score]:
        """Hits by the fields of the answer, and by those of the row."""
        counted = self._counted(answer)
        if counted is None:
            return {}
        hits, said, there = counted
        both = {"precision": Ratio(hits, said), "recall": Ratio(hits, there)}
        return {name: one for name, one in both.items() if one.below}

    def _counted(self, answer: Answer) -> tuple[int, int, int] | None:
        """Fields that are right, that the answer has, and that the row has; None where the row has none."""
        try:
            there = self._read(answer.truth)
        except ValueError:
            return None
        try:
            said = self._read(answer.prediction)
        except ValueError:
            said = Node()
        return (_hits(there, said), said.total, there.total) if there.total or said.total else None

    def _read(self, text: str) -> Node:
        value = parsed(text, allow_fenced=self.allow_fenced)
        try:
            return self._node(value, "")
        except RecursionError as error:
            raise ValueError("nested too deeply") from error

    def _node(self, value: Any, path: str) -> Node:
        """The chosen fields below a value; those of each object in a list by themselves."""
        found = Node()
        for place, one in self._leaves(value, path):
            if isinstance(one, Node):
                found.items.setdefault(place, []).append(one)
            elif not self.fields or _is_below(place, tuple(self.fields)):
                found.leaves[place, self._normal(one)] += 1
        found.total = found.leaves.total() + sum(item.total for items in found.items.values() for item in items)
        return found

    def _leaves(self, value: Any, path: str) -> Iterator[tuple[str, Any]]:
        """Every value with its path; an empty object or list is a value. Objects in lists come as nodes, with theirs inside."""
        if isinstance(value, dict) and value:
            for key, one in cast("dict[str, Any]", value).items():
                yield from self._leaves(one, f"{path}.{key}" if path else key)
        elif isinstance(value, list) and value:
            for place, one in enumerate(cast("list[Any]", value)):
                below = f"{path}[{place if self.ordered else ''}]"
                is_item = isinstance(one, dict) and one and not self.ordered
                yield from [(below, self._node(one, below))] if is_item else self._leaves(one, below)
        else:
            yield path, value

    def _normal(self, value: Any) -> str:
        """A value as text: whitespace collapsed, in NFC, numbers by what they are worth."""
        if not isinstance(value, str):
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            return _number(str(value)) if is_number and self.numbers else json.dumps(value, sort_keys=True)
        text = " ".join(unicodedata.normalize("NFC", value).split())
        if self.numbers and _NUMBER.fullmatch(text):
            return _number(text)
        return f'"{text.casefold() if self.ignore_case else text}"'


def _hits(one: Node, other: Node) -> int:
    """Fields that both have. Items of two lists are paired greedily, those with most in common first, then in their order."""
    found = (one.leaves & other.leaves).total()
    for path in one.items.keys() & other.items.keys():
        common = [
            (-_hits(mine, others), at, place)
            for at, mine in enumerate(one.items[path])
            for place, others in enumerate(other.items[path])
        ]
        taken, matched = set[int](), set[int]()
        for count, at, place in sorted(common):
            if at not in taken and place not in matched:
                taken.add(at)
                matched.add(place)
                found -= count
    return found


def _number(text: str) -> str:
    """One text for one number; a long one keeps its digits."""
    value = float(text)
    if math.isfinite(value) and abs(value) < 2**53:
        return repr(value + 0.0)  # -0.0 is 0.0
    return text


def _is_below(path: str, chosen: tuple[str, ...]) -> bool:
    return any(path == one or path.startswith((f"{one}.", f"{one}[")) for one in chosen)
