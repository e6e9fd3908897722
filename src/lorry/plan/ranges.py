"""A quantity that is known as low, likely and high: hours, dollars."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Range:
    """What something will be at the least, most likely, and at the most; the unit is the owner's.

    Raises ValueError unless `low <= likely <= high`, all of them finite.
    """

    low: float
    likely: float
    high: float

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, (self.low, self.likely, self.high))):
            raise ValueError(f"a range is of finite numbers, and this is {self.low}, {self.likely}, {self.high}")
        if not self.low <= self.likely <= self.high:
            raise ValueError(f"a range goes low, likely, high, and this is {self.low}, {self.likely}, {self.high}")

    @classmethod
    def exact(cls, value: float) -> Range:
        """A quantity that is known."""
        return cls(value, value, value)

    @property
    def is_exact(self) -> bool:
        """Whether low and high are the same."""
        return self.low == self.high

    def __add__(self, other: Range | float) -> Range:
        more = _range(other)
        return Range(self.low + more.low, self.likely + more.likely, self.high + more.high)

    __radd__ = __add__

    def __mul__(self, other: Range | float) -> Range:
        """The product of quantities that are not negative. Raises ValueError for negative ones."""
        by = _range(other)
        if self.low < 0 or by.low < 0:
            raise ValueError("only ranges that are not negative are multiplied")
        return Range(self.low * by.low, self.likely * by.likely, self.high * by.high)

    __rmul__ = __mul__

    def map(self, rising: Callable[[float], float]) -> Range:
        """Each of the three through a function that never falls, such as rounding up."""
        return Range(rising(self.low), rising(self.likely), rising(self.high))

    def taken_from(self, value: float) -> Range:
        """What is left of a value: the most where the range is low."""
        return Range(value - self.high, value - self.likely, value - self.low)


ZERO = Range(0.0, 0.0, 0.0)
ONCE = Range(1.0, 1.0, 1.0)


def _range(value: Range | float) -> Range:
    return value if isinstance(value, Range) else Range.exact(value)
