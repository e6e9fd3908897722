"""Sentences, pieces and mentions."""

from __future__ import annotations

import random

from lorry.data.sentences import mentions, pieces, sentences


def test_sentences_end_where_a_new_one_begins():
    assert sentences("It rained. We stayed in! Why? Nobody knows…\nThen it stopped.") == [
        "It rained.",
        "We stayed in!",
        "Why?",
        "Nobody knows…",
        "Then it stopped.",
    ]


def test_initials_and_titles_end_nothing():
    text = "Dined with Sir G. Carteret and Mr. Hill at St. James’s. So home."
    assert sentences(text) == ["Dined with Sir G. Carteret and Mr. Hill at St. James’s.", "So home."]


def test_quotes_stay_with_their_sentence():
    assert sentences("“Go on.” He went. (It was late.) And so to bed.") == [
        "“Go on.”",
        "He went.",
        "(It was late.)",
        "And so to bed.",
    ]


def test_scripts_without_blanks_have_sentences():
    assert sentences("今日は雨だ。本を読んだ。") == ["今日は雨だ。", "本を読んだ。"]


def test_pieces_hold_all_of_the_text_and_are_never_too_long():
    draw = random.Random(0)
    text = ". ".join("Word " + "ab " * draw.randrange(80) + "x" * draw.randrange(300) for _ in range(40))
    parts = pieces(text, 200)
    assert max(map(len, parts)) <= 200
    assert "".join("".join(parts).split()) == "".join(text.split())


def test_a_short_text_is_one_piece_as_it_stands():
    assert pieces("One.\n\nTwo.", 200) == ["One.\n\nTwo."]
    assert pieces("", 200) == [""]


def test_mentions_are_whole_words_in_whole_sentences():
    text = "Tom came. The tomb was open! I met TOM again. Nobody else."
    assert mentions(text, "Tom", 100) == "Tom came. I met TOM again."
    assert mentions(text, "Tom", 12) == "Tom came."
    assert mentions(text, "Anna", 100) == ""
    assert mentions("C++ (and Tom) are here.", "C++", 100) == "C++ (and Tom) are here."
