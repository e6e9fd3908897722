from __future__ import annotations

import numpy as np
import pytest

from lorry.data.divide import drawn, held_back, prompt_key, wanted
from lorry.data.rows import Origin, Row


def chat(*contents: str, tools: list[dict[str, object]] | None = None) -> Row:
    speakers = ("user", "assistant")
    turns = [{"role": speakers[index % 2], "content": content} for index, content in enumerate(contents)]
    return Row(Origin("a", 1), messages=turns, tools=tools)


@pytest.mark.parametrize(
    ("size", "rows", "number"),
    [
        *((0, 100, 0), (0.1, 100, 10), (0.1, 3, 1), (0.001, 100, 1), (0.99, 100, 99), (0.999, 100, 99)),
        *((1, 100, 1), (30, 100, 30), (500, 100, 99), (0.5, 1, 0), (5, 0, 0)),
    ],
)
def test_share_or_number_of_rows(size: float, rows: int, number: int):
    assert wanted(size, rows) == number


@pytest.mark.parametrize("seed", range(20))
def test_groups_are_never_torn_and_the_number_is_not_passed(seed: int):
    draw = np.random.default_rng(seed)
    keys = draw.integers(0, 30, size=100).astype(np.uint64)
    number = int(draw.integers(1, 60))
    back = held_back(keys, number, seed)
    assert not set(keys[back]) & set(keys[~back])
    assert 0 < back.sum() <= number


def test_choice_does_not_depend_on_the_order_of_rows():
    keys = np.arange(50, dtype=np.uint64) * 7
    order = np.random.default_rng(1).permutation(50)
    assert set(keys[held_back(keys, 10, 3)]) == set(keys[order][held_back(keys[order], 10, 3)])


def test_single_rows_are_held_back_to_the_exact_number():
    assert held_back(np.arange(1000, dtype=np.uint64), 137, 0).sum() == 137


def test_prompt_is_what_stands_before_the_last_answer():
    assert prompt_key(chat("a", "b")) == prompt_key(chat("a", "c"))
    assert prompt_key(chat(" a\n", "b")) == prompt_key(chat("a", "b"))
    assert prompt_key(chat("a", "b")) != prompt_key(chat("a", "b", "c", "d"))
    assert prompt_key(chat("a", "b")) != prompt_key(chat("a", "b", tools=[{"name": "f"}]))


def test_drawn_rows_are_distinct_and_in_order():
    rows = drawn(100, 30, 5).tolist()
    assert rows == sorted(set(rows))
    assert len(rows) == 30
    assert rows != drawn(100, 30, 6).tolist()
