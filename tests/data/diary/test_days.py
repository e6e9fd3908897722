"""Points in time as people and programs write them."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from lorry.data.bad_rows import BadRowError
from lorry.data.diary.days import Day, day_of, moment, seconds


@pytest.mark.parametrize(
    ("written", "day"),
    [
        ("1665-04-11", "11 April 1665"),
        ("2024-03-01T23:30:00Z", "1 March 2024"),
        ("2024-03-01T00:30:00+02:00", "1 March 2024"),
        ("2024-03-01 21:30", "1 March 2024"),
        ("2024/3/7 10:00", "7 March 2024"),
        ("20240301", "1 March 2024"),
        (1709335800, "1 March 2024"),
        (1709335800000, "1 March 2024"),
        ("1709335800000", "1 March 2024"),
        (-9_000_000_000, "19 October 1684"),
        (date(2024, 3, 1), "1 March 2024"),
        (datetime(2024, 3, 1, 22, tzinfo=UTC), "1 March 2024"),
    ],
)
def test_days_are_read_and_said(written: Any, day: str):
    assert f"{day_of(moment(written, 'timestamp', None), 'gregorian')}" == day


@pytest.mark.parametrize(
    "written",
    [
        None,
        "",
        "yesterday",
        "2024-02-30",
        "03/04/2024",
        True,
        [],
        {},
        1e300,
        float("inf"),
        -(10**21),
        "99999999999999999999",
    ],
)
def test_what_is_no_day_is_refused_with_field_and_hint(written: Any):
    with pytest.raises(BadRowError) as caught:
        moment(written, "timestamp", None)
    assert caught.value.field == "timestamp"
    assert "ISO 8601" in caught.value.hint


def test_a_zone_moves_times_that_know_their_distance_from_utc_and_no_others():
    zone = ZoneInfo("Europe/Berlin")
    assert f"{day_of(moment('2024-03-01T23:30:00Z', 'time', zone), 'gregorian')}" == "2 March 2024"
    assert f"{day_of(moment('2024-03-01T23:30:00', 'time', zone), 'gregorian')}" == "1 March 2024"
    with pytest.raises(BadRowError, match="outside"):
        moment("9999-12-31T23:30:00-12:00", "time", zone)


def test_times_with_and_without_a_zone_can_be_ordered():
    assert seconds(moment("2024-03-01", "", None)) < seconds(moment("2024-03-01T00:30:00Z", "", None))
    assert seconds(moment("2024-03-01T01:00:00+02:00", "", None)) < seconds(moment("2024-03-01", "", None))


@pytest.mark.parametrize(
    ("gregorian", "julian"),
    [
        ("1666-09-12", "2 September 1666"),  # the Great Fire of London began
        ("1582-10-15", "5 October 1582"),
        ("1700-03-01", "19 February 1700"),
        ("1700-03-11", "28 February 1700"),  # 29 February 1700, which no `date` can be
        ("1700-03-12", "1 March 1700"),
        ("1917-11-07", "25 October 1917"),
    ],
)
def test_the_old_calendar_is_behind(gregorian: str, julian: str):
    assert f"{day_of(moment(gregorian, '', None), 'julian')}" == julian


def test_days_are_said_as_a_form_asks():
    assert f"{Day(2024, 3, 1):%d.%m.%Y}" == "01.03.2024"
