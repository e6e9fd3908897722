"""Charts as SVG."""

from __future__ import annotations

import math
from xml.etree import ElementTree

import pytest

from lorry.report.chart import HEIGHT, WIDTH, Series, line_chart, thinned, ticks


def drawn(*series: Series) -> ElementTree.Element:
    text = line_chart(series, title="<Loss> & co", x_label="step", y_label='a "label"')
    return ElementTree.fromstring(text)  # noqa: S314 - our own text


def places(chart: ElementTree.Element) -> list[tuple[float, float]]:
    lines = [line.get("points", "") for line in chart.iter("polyline")]
    return [tuple(map(float, pair.split(","))) for line in lines for pair in line.split()]  # type: ignore[misc]


def test_chart_is_wellformed_with_title_labels_and_a_line_each():
    chart = drawn(Series("training", [(1, 3.0), (2, 2.0)]), Series("evaluation", [(2, 2.5)], dots=True))
    texts = [text.text for text in chart.iter("text")]
    assert chart.findtext("title") == "<Loss> & co"
    assert {"step", 'a "label"', "training", "evaluation"} <= set(texts)
    assert len(list(chart.iter("polyline"))) == 1
    assert len(list(chart.iter("circle"))) == 1


def test_lower_values_stand_lower_and_all_points_are_inside():
    found = places(drawn(Series("loss", [(step, 100 / step) for step in range(1, 50)])))
    assert found[0][1] < found[-1][1]
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in found)


@pytest.mark.parametrize(
    "points",
    [[(1, 2.0)], [(1, 2.0), (2, 2.0)], [(1, 0.0), (2, 0.0)], [(1, -5.0), (2, 1e30)], [(1, 1e-12), (2, 2e-12)]],
)
def test_odd_ranges_are_drawn_with_finite_places(points: list[tuple[float, float]]):
    text = line_chart([Series("s", points)], title="t", x_label="x", y_label="y")
    assert "nan" not in text
    assert "inf" not in text
    assert ElementTree.fromstring(text) is not None  # noqa: S314


def test_values_that_are_not_finite_leave_a_gap():
    chart = drawn(Series("s", [(1, 1.0), (2, 1.0), (3, math.nan), (4, 2.0), (5, math.inf), (6, 3.0), (7, 3.0)]))
    assert len(list(chart.iter("polyline"))) == 2
    assert len(list(chart.iter("circle"))) == 1


def test_nothing_to_draw_gives_nothing():
    assert line_chart([Series("s", [(1, math.nan)])], title="t", x_label="x", y_label="y") == ""
    assert line_chart([], title="t", x_label="x", y_label="y") == ""


def test_long_curves_are_thinned_without_losing_a_peak():
    points = [(float(step), 1.0) for step in range(100_000)]
    points[54_321] = (54_321.0, 9.0)
    kept = thinned(points)
    assert len(kept) <= 601
    assert (54_321.0, 9.0) in kept
    assert (kept[0][0], kept[-1]) == (0.0, points[-1])
    assert kept == sorted(kept)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (1, 40), (0.5, 3.2), (1e-6, 2e-4), (-3, 7), (0, 1e9), (99.9, 100.1)])
def test_ticks_are_few_round_and_within(low: float, high: float):
    found = ticks(low, high)
    assert 2 <= len(found) <= 6
    assert all(low - 1e-9 * abs(high) <= tick <= high + 1e-9 * abs(high) for tick in found)
    assert all(len(f"{tick:.3g}") <= 8 for tick in found)
