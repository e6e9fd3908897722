"""Bar charts as SVG text: no scripts; colours come from the page's style sheet, so they suit dark and light.

Every text is cleaned and escaped here, since the page takes a chart as markup.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from lorry.report.chart import WIDTH, ticks
from lorry.visible import clean

_BINS, _FEWEST = 40, 10
"""Bars of a histogram: at most so many, and room for so many however alike the values are."""
_HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 260, 64, 16, 28, 44
_NAME, _TOLD, _ROW, _THICK = 228, 196, 30, 16
"""Of bars that lie: room for names and for figures, and what a bar takes; in the picture's units, as all of these."""
_LONGEST_NAME = 34
_LETTER = 7.0

_Box = tuple[float, float, float, float]
"""Left, top, width, height."""


@dataclass(frozen=True)
class Mark:
    """The largest value that there can be, marked in a histogram by a line behind it."""

    value: int
    name: str


@dataclass(frozen=True)
class Part:
    """A part of a stacked bar; `kind` is the class that gives its colour."""

    name: str
    kind: str
    size: float


@dataclass(frozen=True)
class StackedBar:
    """Parts that fill a room, and the figures that stand beside them."""

    name: str
    parts: Sequence[Part]
    room: float
    told: str


@dataclass(frozen=True)
class RangeBar:
    """A quantity from low to high, and the figures that stand beside it."""

    name: str
    low: float
    likely: float
    high: float
    told: str


def histogram(values: NDArray[np.int64], *, title: str, x_label: str, y_label: str, mark: Mark | None = None) -> str:
    """How often whole numbers from 0 on occur; an empty text where there are none. A mark far beyond them is left out."""
    if not len(values):
        return ""
    start, width, counts = _bins(values)
    bars = max(len(counts), _FEWEST)
    low = max(0, start - width * ((bars - len(counts)) // 2))
    high = low + width * bars
    if mark is not None and high <= mark.value < low + 1.5 * (high - low):
        high = mark.value + 1
    most = int(max(counts))

    def x(value: float) -> float:
        return _LEFT + (value - low) / (high - low) * (WIDTH - _LEFT - _RIGHT)

    def y(count: float) -> float:
        return _HEIGHT - _BOTTOM - count / most * (_HEIGHT - _TOP - _BOTTOM)

    return _svg(
        title,
        _HEIGHT,
        *_counts(most, y),
        *_bars(start, width, counts, lambda value, count: (x(value), y(count))),
        *_values(low, high, x),
        *(_marked(mark, x(mark.value + 1)) if mark is not None and low <= mark.value < high else ()),
        _label((WIDTH + _LEFT - _RIGHT) / 2, _HEIGHT - 6, x_label),
        f'<text class="label" transform="translate(14 {_HEIGHT / 2 - 12:.0f}) rotate(-90)">{_safe(y_label)}</text>',
    )


def stacked_bars(bars: Sequence[StackedBar], *, title: str) -> str:
    """Bars of parts, each in front of its room, all on one scale; an empty text where there are none.

    Rooms that are much larger than what fills them run out of the picture, open at their end.
    """
    largest = max((sum(part.size for part in bar.parts) for bar in bars), default=0.0)
    if largest <= 0:
        return ""
    high = max(1.1 * largest, min(max(bar.room for bar in bars) * 1.02, 2.5 * largest))
    area = WIDTH - _NAME - _TOLD
    drawn = [line for number, bar in enumerate(bars) for line in _stack(bar, number * _ROW + 6, area / high)]
    kinds = {part.name: part.kind for bar in bars for part in bar.parts}
    below = len(bars) * _ROW + 22
    legend, bottom = _legend(kinds, below)
    return _svg(title, bottom, *drawn, *legend)


def range_bars(bars: Sequence[RangeBar], *, title: str, unit: Callable[[float], str]) -> str:
    """Bars from low to high with a line at the likely value, on one scale from 0; an empty text where there are none."""
    if not bars:
        return ""
    high = max(bar.high for bar in bars) * 1.02 or 1.0
    scale = (WIDTH - _NAME - _TOLD) / high
    foot = len(bars) * _ROW + 8
    axis = [line for value in ticks(0, high, most=5) for line in _grid(_NAME + value * scale, foot, unit(value))]
    drawn = [line for number, bar in enumerate(bars) for line in _span(bar, number * _ROW + 6, scale)]
    return _svg(title, foot + 24, *axis, *drawn)


def _svg(title: str, height: float, *parts: str) -> str:
    opened = f'<svg class="chart" viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{_safe(title)}">'
    return "\n".join([opened, f"<title>{_safe(title)}</title>", *parts, "</svg>"])


def _bins(values: NDArray[np.int64]) -> tuple[int, int, list[int]]:
    """Where the first bar begins, how wide each is (1, 2, 5, 10, ...), and how many values lie in each."""
    low, high = int(values.min()), int(values.max())
    least = (high - low + 1) / _BINS
    power = 10 ** max(0, math.floor(math.log10(least)))
    width = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least)
    start = low // width * width
    return start, width, np.bincount((values - start) // width).tolist()


def _bars(
    start: int, width: int, counts: Sequence[int], place: Callable[[float, float], tuple[float, float]]
) -> Iterator[str]:
    for number, count in enumerate(counts):
        if not count:
            continue
        first = start + number * width
        (left, top), (right, bottom) = place(first, count), place(first + width, 0)
        tall = max(bottom - top, 1.5)  # what is rare must still be seen
        values = f"{first:,}" if width == 1 else f"{first:,} to {first + width - 1:,}"
        yield _rect((left + 0.5, bottom - tall, max(right - left - 1, 0.5), tall), "bar", f"{values}: {count:,}")


def _counts(most: int, y: Callable[[float], float]) -> Iterator[str]:
    for value in ticks(0, most):
        if value == round(value):
            place = y(value)
            yield f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{place:.1f}" y2="{place:.1f}"/>'
            yield f'<text class="tick end" x="{_LEFT - 8}" y="{place + 4:.1f}">{value:,.0f}</text>'


def _values(low: float, high: float, x: Callable[[float], float]) -> Iterator[str]:
    bottom = _HEIGHT - _BOTTOM
    yield f'<line class="axis" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{bottom}" y2="{bottom}"/>'
    for value in ticks(low, high, most=9):
        if value == round(value):
            yield f'<text class="tick" x="{x(value):.1f}" y="{bottom + 18}">{value:,.0f}</text>'


def _marked(mark: Mark, place: float) -> Iterator[str]:
    yield f'<line class="mark" x1="{place:.1f}" x2="{place:.1f}" y1="{_TOP - 8}" y2="{_HEIGHT - _BOTTOM}"/>'
    beside = max(_LEFT + len(mark.name) * _LETTER / 2, min(place, WIDTH - _RIGHT - len(mark.name) * _LETTER / 2))
    yield _label(beside, _TOP - 12, mark.name)


def _stack(bar: StackedBar, top: float, scale: float) -> Iterator[str]:
    yield _named(bar.name, top)
    end = WIDTH - _TOLD
    right = min(_NAME + bar.room * scale, end)
    closed = f"V{top + _THICK + 2:.1f}" if right < end else f"M{right:.1f},{top + _THICK + 2:.1f}"
    yield f'<path class="room" d="M{_NAME},{top - 2:.1f}H{right:.1f}{closed}H{_NAME}"/>'
    left = float(_NAME)
    for part in bar.parts:
        yield _rect((left, top, part.size * scale, _THICK), f"part {part.kind}", f"{bar.name}: {part.name}")
        left += part.size * scale
    yield _beside(bar.told, top)


def _span(bar: RangeBar, top: float, scale: float) -> Iterator[str]:
    yield _named(bar.name, top)
    left, likely, right = (_NAME + value * scale for value in (bar.low, bar.likely, bar.high))
    yield _rect((left, top, max(right - left, 1.5), _THICK), "span", f"{bar.name}: {bar.told}")
    yield f'<line class="likely" x1="{likely:.1f}" x2="{likely:.1f}" y1="{top - 2:.1f}" y2="{top + _THICK + 2:.1f}"/>'
    yield _beside(bar.told, top)


def _grid(place: float, foot: float, text: str) -> Iterator[str]:
    yield f'<line class="grid" x1="{place:.1f}" x2="{place:.1f}" y1="0" y2="{foot:.1f}"/>'
    yield _label(place, foot + 16, text)


def _legend(kinds: dict[str, str], top: float) -> tuple[list[str], float]:
    """A square and a name for each kind, in as many lines as that takes; and where the next line would begin."""
    lines: list[str] = []
    left = 0.0
    for name, kind in kinds.items():
        wide = 34 + _LETTER * len(name)
        if left and left + wide > WIDTH:
            left, top = 0.0, top + 20
        lines.append(_rect((left, top - 10, 12, 12), f"part {kind}", name))
        lines.append(f'<text class="tick start" x="{left + 18:.0f}" y="{top:.0f}">{_safe(name)}</text>')
        left += wide
    return lines, top + 12


def _named(name: str, top: float) -> str:
    shown = name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
    return f'<text class="name end" x="{_NAME - 10}" y="{top + 12:.1f}">{_safe(shown)}</text>'


def _beside(told: str, top: float) -> str:
    return f'<text class="tick start" x="{WIDTH - _TOLD + 10}" y="{top + 12:.1f}">{_safe(told)}</text>'


def _label(x: float, y: float, text: str) -> str:
    return f'<text class="label" x="{x:.1f}" y="{y:.1f}">{_safe(text)}</text>'


def _rect(place: _Box, kind: str, title: str) -> str:
    x, y, width, height = place
    places = f'x="{x:.1f}" y="{y:.1f}" width="{width:.2f}" height="{height:.1f}"'
    return f'<rect class="{kind}" {places}><title>{_safe(title)}</title></rect>'


def _safe(text: str) -> str:
    return escape(clean(text))
