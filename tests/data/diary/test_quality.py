"""The rules by which an entry is good enough to learn from."""

from __future__ import annotations

import random

import pytest

from lorry.data.diary.quality import quality

PROSE = "Up, and to the office, where busy all the morning. At noon dined at home with my wife, and then by water to Deptford."


def test_prose_keeps_every_rule():
    assert quality(PROSE, 80).score == 1.0


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("Fed the cat.", "too short"),
        ("", "too short"),
        (
            "12.50 13.80 99.10 17.20 | 2024-01-01 | 88 % | 3.1 | 17 19 23 29 31 37 41 43 47 53 59 61 67 71 73 79 83",
            "few letters",
        ),
        ("all work and no play " * 30, "repetitive"),
        ("あいうえおかきくけこさしすせそ" * 30, "repetitive"),
        (f"See {''.join(random.Random(0).choices('abcdefghij', k=900))} for it.", "not words"),
    ],
)
def test_what_is_wrong_is_named(text: str, rule: str):
    found = quality(text, 80)
    assert found.rule == rule
    assert found.score < 0.5


def test_length_counts_in_shares_of_a_good_one():
    assert quality(PROSE[:40], 80).score == 0.5
    assert quality(PROSE[:40], 20).score == 1.0


@pytest.mark.parametrize(
    "text",
    [
        "今日は雨が降っていたので、家で本を読んでいました。夜はアンナと一緒に夕食を作り、とても楽しい時間を過ごすことができました。",
        "वह सुबह नदी के किनारे टहलने गया और उसने वहाँ अपने पुराने मित्र से बहुत देर तक बातें कीं, फिर घर लौट आया।",
        "Сегодня весь день шёл дождь, и мы сидели дома, читали книги и пили чай, а вечером пришли гости с пирогом.",
    ],
)
def test_other_scripts_are_prose_too(text: str):
    assert quality(text, 50).score == 1.0


def test_a_huge_text_takes_no_longer_than_its_beginning():
    assert quality("x " * 5_000_000, 80).rule == "repetitive"
