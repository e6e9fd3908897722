"""Wordings of one's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from lorry.data.diary.questions import ENGLISH, wordings
from lorry.errors import InputError


def test_own_wordings_take_the_place_of_the_english_ones(tmp_path: Path):
    (tmp_path / "w.yaml").write_text(
        "day: ['Was war am {date:%d.%m.%Y}?']\nwhen_answer: Am {date}.\n", encoding="utf-8"
    )
    found = wordings("w.yaml", tmp_path)
    assert found["day"] == ["Was war am {date:%d.%m.%Y}?"]
    assert found["when_answer"] == ["Am {date}."]
    assert found["about"] == [*ENGLISH["about"]]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("dya: ['x']", "there is no wording `dya`"),
        ("day: []", "`day` gives no wording"),
        ("day: [1]", "`day` holds what is no text"),
        ("day: ['{entity}']", "`day` cannot speak of `{entity}`"),
        ("day: ['{']", "`day`: "),
        ("day: ['{date.year.real}']", "cannot speak of"),
        ("about: ['{entity:d}']", "`about`: "),
        ("about: ['{}']", "cannot speak of `{}`"),
        ("day: [", "w.yaml"),
    ],
)
def test_wrong_wordings_are_refused_with_their_file(text: str, says: str, tmp_path: Path):
    (tmp_path / "w.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        wordings("w.yaml", tmp_path)
    assert says in str(caught.value)
    assert "w.yaml" in caught.value.place


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(InputError, match="no such file"):
        wordings("none.yaml", tmp_path)
