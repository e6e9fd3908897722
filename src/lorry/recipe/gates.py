"""Gates: what a score must be for an adapter to be good enough, as a recipe writes it.

gates:
cer: "< 10 %"
json_valid: ">= 0.95 on test"
length: [">= 5", "< 200"]
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, cast

Sign = Literal["<", "<=", ">", ">="]
Split = Literal["eval", "test"]

_GATE = re.compile(
    r"\s*(<=|>=|<|>)\s*([+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)\s*(%)?\s*(?:\bon\s+(eval|test))?\s*", re.ASCII
)
_FORM = 'write a sign, a number, and perhaps rows: "< 0.10", ">= 95 %", "< 0.10 on test"'


@dataclass(frozen=True, slots=True)
class Gate:
    """What one score must be."""

    score: str
    sign: Sign
    limit: float
    split: Split | None = None
    """The rows that it is asked of; None for test rows where there are some, else evaluation rows."""
    written: str = ""
    """The limit as the recipe has it: `10 %`."""

    @property
    def wants_more(self) -> bool:
        """Whether it asks for a high score."""
        return self.sign in (">", ">=")

    @property
    def asked(self) -> str:
        """In words: `< 10 %`."""
        return f"{self.sign} {self.written or f'{self.limit:g}'}"

    def is_met(self, value: float) -> bool:
        """Whether a score passes."""
        return {"<": value < self.limit, "<=": value <= self.limit, ">": value > self.limit, ">=": value >= self.limit}[
            self.sign
        ]

    def missed_by(self, value: float) -> float:
        """How far a score is from the limit, on the wrong side; 0 where it passes or stands on a limit that excludes it."""
        return 0.0 if self.is_met(value) else abs(value - self.limit)


def parsed(score: str, text: str) -> Gate:
    """The gate that a text describes. Raises ValueError for one that describes none."""
    found = _GATE.fullmatch(text)
    if found is None:
        raise ValueError(f"`{text}` is no gate: {_FORM}")
    sign, number, percent, split = found.groups()
    limit = float(number)
    if not math.isfinite(limit):
        raise ValueError(f"`{text}` asks for more than any number")
    if percent and limit:
        # Divided in decimals: 97.4 / 100 is not the double next to 0.974, which 974 of 1,000 answers reach.
        limit = float(Decimal(number) / 100)
    written = f"{number} %" if percent else number
    return Gate(score, cast("Sign", sign), limit, cast("Split | None", split), written)


def gates_of(given: Mapping[str, str | Sequence[str]]) -> list[Gate]:
    """All gates of a recipe, in its order. Raises ValueError for what is none."""
    return [
        parsed(score, text) for score, one in given.items() for text in ([one] if isinstance(one, str) else list(one))
    ]


def checked(given: dict[str, str | list[str]]) -> dict[str, str | list[str]]:
    """The gates as they are given. Raises ValueError for what is none."""
    for score, one in given.items():
        if not isinstance(one, str) and not one:
            raise ValueError(f"`{score}` has no gate: {_FORM}")
    gates_of(given)
    return given
