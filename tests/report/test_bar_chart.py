"""Bar charts as SVG."""

from __future__ import annotations

import random
from xml.etree import ElementTree

import numpy as np
import pytest

from lorry.report.bar_chart import Mark, Part, RangeBar, StackedBar, histogram, range_bars, stacked_bars
from lorry.report.chart import WIDTH
from lorry.units import money

HOSTILE = '<script>"&\x1b[31m\u202e'


def read(text: str) -> ElementTree.Element:
    assert "nan" not in text
    assert "inf" not in text
    return ElementTree.fromstring(text)  # noqa: S314 - our own text


def lengths(values: list[int], limit: int | None = None) -> ElementTree.Element:
    mark = None if limit is None else Mark(limit, f"max_length {limit}")
    found = np.array(values, np.int64)
    return read(histogram(found, title=HOSTILE, x_label="tokens", y_label="rows", mark=mark))


def rects(chart: ElementTree.Element, kind: str) -> list[dict[str, float]]:
    found = [rect for rect in chart.iter("rect") if kind in rect.get("class", "").split()]
    return [{name: float(rect.get(name, 0)) for name in ("x", "y", "width", "height")} for rect in found]


def stack(name: str = "T4", room: float = 16.0, **parts: float) -> StackedBar:
    return StackedBar(name, [Part(key, "model", size) for key, size in parts.items()], room, "some of all")


@pytest.mark.parametrize(
    "values",
    [[7], [0], [5] * 100, [1, 2], [3, 100_000], list(range(1, 3000)), [1] * 10**6 + [2], [2**40]],
    ids=lambda values: f"{len(values)} rows",
)
def test_histogram_shows_every_row_inside_of_the_picture(values: list[int]):
    chart = lengths(values, limit=2048)
    bars = rects(chart, "bar")
    told = [rect.findtext("title", "") for rect in chart.iter("rect")]
    assert sum(int(text.rpartition(": ")[2].replace(",", "")) for text in told) == len(values)
    assert 1 <= len(bars) <= 41
    assert all(bar["x"] >= 0 and bar["x"] + bar["width"] <= WIDTH and bar["height"] > 1 for bar in bars)


def test_histogram_of_random_rows_counts_them_as_they_lie():
    draw = random.Random(0)
    values = [draw.randrange(1, 5000) for _ in range(2000)]
    for rect in lengths(values).iter("rect"):
        span, _, count = rect.findtext("title", "").replace(",", "").partition(": ")
        low, _, high = span.partition(" to ")
        assert int(count) == sum(int(low) <= value <= int(high or low) for value in values)


def test_limit_is_marked_where_it_is_near_and_left_out_where_it_is_far():
    near, far = lengths([100, 120, 128], limit=128), lengths([1, 2, 3], limit=4096)
    assert [line.get("class") for line in near.iter("line")].count("mark") == 1
    assert "max_length 128" in [text.text for text in near.iter("text")]
    assert "mark" not in [line.get("class") for line in far.iter("line")]


def test_no_rows_no_bars_no_picture():
    assert histogram(np.array([], np.int64), title="t", x_label="x", y_label="y") == ""
    assert stacked_bars([], title="t") == ""
    assert stacked_bars([stack(weights=0)], title="t") == ""
    assert range_bars([], title="t", unit=money) == ""


def test_parts_stand_side_by_side_on_one_scale_and_each_once_in_the_legend():
    chart = read(stacked_bars([stack(weights=2, optimizer=6), stack(weights=4, optimizer=4)], title="Memory"))
    first, second, third, fourth, *legend = rects(chart, "part")
    assert second["x"] == pytest.approx(first["x"] + first["width"], abs=0.1)
    assert second["width"] == pytest.approx(3 * first["width"], abs=0.1)
    assert (third["width"], fourth["width"]) == pytest.approx((2 * first["width"], 2 * first["width"]), abs=0.1)
    assert len(legend) == 2


@pytest.mark.parametrize("room", [0.0, 1.0, 8.0, 1e12])
def test_bars_stay_inside_whatever_the_room(room: float):
    chart = read(stacked_bars([stack(room=room, weights=2, optimizer=6)], title="Memory"))
    assert all(bar["x"] + bar["width"] <= WIDTH for bar in rects(chart, "part"))


def test_long_legend_takes_several_lines():
    parts = {f"a part with a long name {number}": 1.0 for number in range(12)}
    places = {part["y"] for part in rects(read(stacked_bars([stack(**parts)], title="t")), "part")}
    assert len(places) > 3


def test_ranges_lie_on_one_scale_with_a_line_at_the_likely_value():
    chart = read(range_bars([RangeBar("a", 1, 2, 4, "$2"), RangeBar("b", 0, 4, 8, "$4")], title="Cost", unit=money))
    first, second = rects(chart, "span")
    likely = [float(line.get("x1", 0)) for line in chart.iter("line") if line.get("class") == "likely"]
    assert second["width"] == pytest.approx(first["width"] * 8 / 3, rel=0.01)
    assert likely[0] < likely[1]
    assert "$5.00" in [text.text for text in chart.iter("text")]


@pytest.mark.parametrize("value", [0.0, 1e-9, 1e12])
def test_costs_of_nothing_and_of_much_are_drawn(value: float):
    chart = read(range_bars([RangeBar("a", value, value, value, "all")], title="Cost", unit=money))
    assert all(bar["x"] >= 0 and bar["x"] + bar["width"] <= WIDTH for bar in rects(chart, "span"))


def test_hostile_names_are_text():
    drawn = [
        stacked_bars([StackedBar(HOSTILE * 20, [Part(HOSTILE, "model", 1)], 2, HOSTILE)], title=HOSTILE),
        range_bars([RangeBar(HOSTILE, 0, 1, 2, HOSTILE)], title=HOSTILE, unit=lambda _: HOSTILE),
    ]
    for text in drawn:
        assert not set(text) & {"\x1b", "\u202e"}
        assert "script" not in {element.tag for element in read(text).iter()}
