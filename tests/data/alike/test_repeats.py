"""Near repetitions among rows, and across a split: which are found, and which of them stays."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest

from conversions import WORDS
from lorry.data.alike import repeats
from lorry.data.alike.repeats import Sketcher, Text, Told, near_prompts_between, near_repeats, near_rows_between
from lorry.data.alike.search import within
from lorry.data.alike.shingles import likeness
from lorry.data.alike.sketch import Sketches, estimated, sketches

DAY = "We walked along the river to the market, and bought bread and candles for the long winter evenings"
ASKED = "What did the two of you do in the town that day?"


def told(rows: list[Text]) -> Told:
    sketcher = Sketcher()
    for row in rows:
        sketcher.add(*row)
    return sketcher.told(rows.__getitem__)


def some_rows(count: int, seed: int = 0) -> list[Text]:
    draw = random.Random(seed)
    return [(" ".join(draw.choices(WORDS, k=12)), " ".join(draw.choices(WORDS, k=15))) for _ in range(count)]


def edited(text: str, draw: random.Random) -> str:
    words = text.split()
    words[draw.randrange(len(words))] = draw.choice(WORDS)
    return " ".join(words)


def test_reworded_row_repeats_the_earlier_one():
    rows = [(ASKED, DAY), *some_rows(20), (f"{ASKED}?", DAY.replace("candles", "a candle"))]
    assert near_repeats(told(rows), 0.8) == {21: 0}


def test_the_first_of_several_stays_in_the_place_of_all():
    rows = [*some_rows(5), (ASKED, DAY), (ASKED, f"{DAY}."), (ASKED, f"{DAY}!"), (f"{ASKED} ", DAY)]
    assert near_repeats(told(rows), 0.8) == {6: 5, 7: 5, 8: 5}


def test_rows_near_in_the_prompt_alone_stay():
    rows = [(ASKED, DAY), (ASKED, "Nothing at all: it rained, and everybody stayed in bed until noon.")]
    assert near_repeats(told(rows), 0.8) == {}


def test_rows_that_something_else_sets_apart_repeat_nothing_of_each_other():
    rows = [(ASKED, DAY, number % 3) for number in range(9)]
    sketcher = Sketcher()
    for asked, answer, apart in rows:
        sketcher.add(asked, answer, str(apart))
    made = sketcher.told(lambda index: rows[index][:2])
    expected = {3: 0, 4: 1, 5: 2, 6: 0, 7: 1, 8: 2}
    assert near_repeats(made, 0.8) == near_repeats(made, 0.8, most=0) == expected


def test_a_row_near_one_that_is_left_out_stays():
    # A chain: each step is near the one before, the ends are far from each other.
    words = DAY.split()
    steps = [" ".join([*("other" for _ in range(count)), *words[count:]]) for count in range(8)]
    rows = [("", step) for step in steps]
    left_out = near_repeats(told(rows), 0.7)
    for later, earlier in left_out.items():
        assert earlier not in left_out
        assert likeness(steps[later], steps[earlier]) >= 0.7
    assert likeness(steps[0], steps[-1]) < 0.7
    assert len({*left_out.values()}) > 1


def test_a_threshold_of_one_finds_what_is_equal_letter_by_letter():
    rows = [(ASKED, DAY), (ASKED, f" {DAY}\n"), (ASKED.upper(), DAY), (ASKED, f"{DAY}."), (ASKED, DAY)]
    assert near_repeats(told(rows), 1.0) == {1: 0, 4: 0}
    code = [("", f"if ready:\n    go()\n{indent}stop()") for indent in ("", "    ", "")]
    assert near_repeats(told(code), 1.0) == {2: 0}
    assert near_repeats(told([("", "a" * 8), ("", "a" * 10)]), 1.0) == {}


def test_sketches_decide_once_enough_pairs_are_compared():
    rows = [(ASKED, DAY)] * 50
    assert near_repeats(told(rows), 0.8, most=0) == dict.fromkeys(range(1, 50), 0)


def test_empty_rows_and_no_rows_are_no_trouble():
    assert near_repeats(told([]), 0.8) == {}
    assert near_repeats(told([("", ""), ("", "")]), 0.8) == {1: 0}
    assert (
        near_rows_between(told([]), told([(ASKED, DAY)]), 0.8)
        == near_rows_between(told([(ASKED, DAY)]), told([]), 0.8)
        == {}
    )


def test_as_good_as_all_pairs_above_the_threshold_are_candidates():
    draw = random.Random(3)
    rows = some_rows(300)
    rows += [(edited(asked, draw), edited(answer, draw)) for asked, answer in rows]
    made = told(rows)
    found = {*zip(*(side.tolist() for side in within(made.rows, 0.8, made.apart)), strict=True)}

    def whole(one: int, other: int) -> float:
        return min(likeness(rows[one][side], rows[other][side]) for side in (0, 1))

    near = [(one, one + 300) for one in range(300) if whole(one, one + 300) >= 0.8]
    assert len(near) > 20
    assert sum(pair in found for pair in near) >= 0.99 * len(near)


def test_estimates_are_near_the_truth():
    draw = random.Random(5)
    first = [("", " ".join(draw.choices(WORDS, k=60))) for _ in range(60)]
    second = [("", edited(edited(edited(text, draw), draw), draw)) for _, text in first]
    guesses = estimated(told(first).rows, told(second).rows)
    truth = np.array([likeness(ours, theirs) for (_, ours), (_, theirs) in zip(first, second, strict=True)])
    assert abs((guesses - truth).mean()) < 0.03
    assert (guesses - truth).std() < 0.12


def test_rows_on_both_sides_of_a_split_are_found():
    train = [*some_rows(50, seed=1), (ASKED, DAY)]
    scored = [
        *some_rows(5, seed=2),
        (f"{ASKED} Say.", f"{DAY}."),
        (ASKED, "He was ill, and stayed at home with a fever."),
    ]
    assert near_rows_between(told(scored), told(train), 0.8) == {5: 50}
    assert near_prompts_between(told(scored), told(train), 0.8) == {5: 50, 6: 50}


def test_long_texts_are_sketched_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch):
    seen: list[int] = []

    def watched(prompts: Sequence[str], answers: Sequence[str]) -> tuple[Sketches, Sketches]:
        seen.append(sum(map(len, [*prompts, *answers])))
        return sketches(prompts, answers)

    monkeypatch.setattr(repeats, "sketches", watched)
    assert len(told([("", "river stone market " * 10_000)] * 12).rows) == 12
    assert max(seen) < 700_000
