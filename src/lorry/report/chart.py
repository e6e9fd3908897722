"""A line chart as SVG text: no scripts; colours come from the page's style sheet, so it suits dark and light."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

Point = tuple[float, float]
WIDTH, HEIGHT = 720, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 16, 44
_MOST_POINTS = 600
"""Points of one line; more cannot be seen at this width."""


@dataclass(frozen=True, slots=True)
class Series:
    """One line: its name in the legend, its points by rising x, and whether each point gets a dot."""

    name: str
    points: Sequence[Point]
    dots: bool = False


@dataclass(frozen=True, slots=True)
class _Frame:
    """Maps values to places in the picture."""

    x_low: float
    x_high: float
    y_low: float
    y_high: float

    def x(self, value: float) -> float:
        return _LEFT + (value - self.x_low) / (self.x_high - self.x_low) * (WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - _BOTTOM - (value - self.y_low) / (self.y_high - self.y_low) * (HEIGHT - _TOP - _BOTTOM)


def line_chart(series: Sequence[Series], *, title: str, x_label: str, y_label: str) -> str:
    """The chart, or an empty text when no series has a finite point. A value that is not finite leaves a gap."""
    finite = [point for one in series for point in one.points if _is_finite(point)]
    if not finite:
        return ""
    frame = _frame(finite)
    parts = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">',
        f"<title>{escape(title)}</title>",
        *_y_axis(frame),
        *_x_axis(frame),
        f'<text class="label" x="{(WIDTH + _LEFT - _RIGHT) / 2:.0f}" y="{HEIGHT - 6}">{escape(x_label)}</text>',
        f'<text class="label" transform="translate(14 {HEIGHT / 2 - 12:.0f}) rotate(-90)">{escape(y_label)}</text>',
    ]
    for number, one in enumerate(series):
        parts += _line(one, number, frame)
    legend = _legend(series) if len(series) > 1 else ()
    return "\n".join([*parts, *legend, "</svg>"])


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers from `low` to `high`, both within, at most `most` of them (Heckbert, Graphics Gems, 1990)."""
    span = high - low
    if span <= 0 or not math.isfinite(span):
        return [low]
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(power * factor for factor in (1, 2, 5, 10, 20) if span / (power * factor) <= most - 1)
    first = math.ceil(low / step - 1e-9)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]


def _frame(points: Sequence[Point]) -> _Frame:
    """Limits with room around the values; equal limits are moved apart."""
    x_low, x_high = min(x for x, _ in points), max(x for x, _ in points)
    y_low, y_high = min(y for _, y in points), max(y for _, y in points)
    if x_low == x_high:
        x_low, x_high = x_low - 1, x_high + 1
    room = (y_high - y_low) * 0.06 or abs(y_high) * 0.1 or 1.0
    lowest = y_low - room
    return _Frame(x_low, x_high, max(lowest, 0.0) if y_low >= 0 else lowest, y_high + room)


def _y_axis(frame: _Frame) -> Iterator[str]:
    for value in ticks(frame.y_low, frame.y_high):
        place = frame.y(value)
        yield f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{place:.1f}" y2="{place:.1f}"/>'
        yield f'<text class="tick end" x="{_LEFT - 8}" y="{place + 4:.1f}">{_short(value)}</text>'


def _x_axis(frame: _Frame) -> Iterator[str]:
    bottom = HEIGHT - _BOTTOM
    yield f'<line class="axis" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{bottom}" y2="{bottom}"/>'
    for value in ticks(frame.x_low, frame.x_high, most=9):
        if value == round(value):  # steps are whole
            yield f'<text class="tick" x="{frame.x(value):.1f}" y="{bottom + 18}">{_short(value)}</text>'


def _line(series: Series, number: int, frame: _Frame) -> Iterator[str]:
    for run in _unbroken(thinned(series.points)):
        places = " ".join(f"{frame.x(x):.1f},{frame.y(y):.1f}" for x, y in run)
        if len(run) > 1:
            yield f'<polyline class="line s{number}" points="{places}"/>'
        if series.dots or len(run) == 1:
            yield from (
                f'<circle class="dot s{number}" cx="{frame.x(x):.1f}" cy="{frame.y(y):.1f}" r="3.5"/>' for x, y in run
            )


def thinned(points: Sequence[Point], most: int = _MOST_POINTS) -> list[Point]:
    """At most `most` points (and one): of each stretch its lowest and its highest, so that no peak is lost."""
    if len(points) <= most:
        return list(points)
    stretch = math.ceil(2 * len(points) / most)
    kept: list[Point] = []
    for start in range(0, len(points), stretch):
        part = points[start : start + stretch]
        finite = [point for point in part if _is_finite(point)]
        if not finite:
            kept.append(part[0])
            continue
        ends = {min(finite, key=lambda point: point[1]), max(finite, key=lambda point: point[1])}
        kept.extend(sorted(ends))
    return kept if kept[-1] == points[-1] else [*kept, points[-1]]


def _unbroken(points: Sequence[Point]) -> Iterator[list[Point]]:
    run: list[Point] = []
    for point in points:
        if _is_finite(point):
            run.append(point)
        elif run:
            yield run
            run = []
    if run:
        yield run


def _legend(series: Sequence[Series]) -> Iterator[str]:
    place = WIDTH - _RIGHT - 12
    for number, one in reversed(list(enumerate(series))):
        place -= 7 * len(one.name) + 26
        yield f'<line class="line s{number}" x1="{place}" x2="{place + 16}" y1="{_TOP}" y2="{_TOP}"/>'
        yield f'<text class="tick start" x="{place + 22}" y="{_TOP + 4}">{escape(one.name)}</text>'


def _short(value: float) -> str:
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:.4g}"
    digits, exponent = f"{value:.2e}".split("e")
    return f"{digits.rstrip('0').rstrip('.')}e{int(exponent)}"


def _is_finite(point: Point) -> bool:
    return math.isfinite(point[0]) and math.isfinite(point[1])
