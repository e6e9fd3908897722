"""How alike texts are, by the pieces of five letters that both have."""

from __future__ import annotations

import numpy as np
import pytest

from lorry.data.alike.shingles import likeness, shingles


def test_equal_texts_are_wholly_alike_whatever_their_blanks_and_case():
    assert likeness("Find the fox", "  find  THE\tfox\n") == 1.0
    assert likeness("", "") == likeness("", " \n") == 1.0


def test_lines_indented_otherwise_are_another_text():
    code = "for one in rows:\n    total += one\n    print(total)"
    assert likeness(code, code.replace("    print", "print")) < 1.0
    assert likeness(code, f"\n{code}  \n\n") == 1.0
    assert likeness("It is said\nthat it rains", "It is said that it rains") == 1.0


def test_texts_with_nothing_in_common_are_not_alike():
    assert likeness("abcdef", "ghijkl") == 0.0
    assert likeness("", "something") == 0.0


def test_likeness_is_the_share_of_pieces_that_both_have():
    # Both have `abcde`, `bcdef` and `cdefg`, and each one more that holds its last letter.
    assert likeness("abcdefgh", "abcdefgx") == pytest.approx(3 / (3 + 1 + 1))


def test_one_changed_word_in_a_long_text_leaves_it_alike():
    text = "the quick brown fox jumps over the lazy dog and runs into the deep dark wood behind the old mill by the river, "
    assert likeness(f"{text}at night", f"{text}by day") > 0.8


def test_another_number_makes_another_request():
    asked = "Find files larger than {} MB in the folder /var/log"
    assert likeness(asked.format(100), asked.format(200)) < 0.7
    assert likeness("What did you do on 13 April 1665?", "What did you do on 14 April 1665?") < 0.7


@pytest.mark.parametrize("digits", ["٠١٢٣٤٥٦٧٨٩", "०१२३४५६७८९", "０１２３４５６７８９", "〇一二三四五六七八九"])
def test_a_number_in_another_script_makes_another_request_too(digits: str):
    asked = "What did the people of the town do on the day when it was {} degrees?"
    first, second = (asked.format("".join(digits[int(one)] for one in said)) for said in ("100", "200"))
    plain_numbers = likeness(asked.format(100), asked.format(200))
    assert likeness(first, second) == pytest.approx(plain_numbers)
    assert plain_numbers < likeness(asked.format("hot"), asked.format("hat"))


def test_wide_digits_are_the_same_numbers():
    assert likeness("It was ２０ degrees", "It was 20 degrees") == 1.0


def test_other_questions_about_one_long_passage_are_not_alike():
    passage = "Although lacking historical connections to the region, it was the country most dependent on oil. " * 20
    first, second = (
        f"{passage}\n\nQuestion: {asked}" for asked in ("Which country was it?", "How much came from there?")
    )
    assert likeness(first, second) < 0.4
    assert likeness(first, first.replace("Which country was it", "which  country was it")) == 1.0
    assert likeness(first, first.replace("Which country was it", "Which country  was that")) > 0.7
    assert likeness(f"{passage}\nWhen was he born?", f"{passage}\nWhere was he born?") < 0.6


def test_every_text_has_pieces_of_its_own_alone():
    together, owners = shingles(["first text", "", "日本語", "x1"])
    assert sorted(set(owners.tolist())) == [0, 1, 2, 3]
    for index, text in enumerate(["first text", "", "日本語", "x1"]):
        alone, _ = shingles([text])
        np.testing.assert_array_equal(np.sort(together[owners == index]), np.sort(alone))


def test_half_of_a_surrogate_pair_does_no_harm():
    assert likeness("\ud800 text", "\ud800 text") == 1.0
