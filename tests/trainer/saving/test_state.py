from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from lorry.trainer.saving.state import Skip, State
from lorry.trainer.stopping import WINDOW


def through_json(state: State) -> State:
    return State.from_json(json.loads(json.dumps(state.as_json())))


def trained(steps: int, *, loss: float = 2.0) -> State:
    state = State()
    for _ in range(steps):
        state = state.after_step(loss, tokens=10, seconds=0.5)
    return state


def test_new_state_goes_through_json():
    assert through_json(State()) == State()


def test_every_part_goes_through_json():
    state = trained(3).evaluated({"loss": 1.5, "exact_match": 0.25}, 2.0)
    state = State(**{**vars(state), "skipped": (Skip(4, (7, 8)), Skip(9, ()))})
    assert through_json(state) == state


def test_numbers_come_back_to_the_bit():
    numbers = [0.1, 1 / 3, 1e-320, 1.7976931348623157e308, math.pi, *np.random.default_rng(0).normal(size=200).tolist()]
    for number in numbers:
        state = State(step=1, seconds=number, scores={1: {"loss": number}}, recent=(number,))
        again = through_json(state)
        assert (again.seconds, again.recent, again.scores) == (number, (number,), {1: {"loss": number}})


def test_scores_that_are_no_numbers_come_back():
    scores = through_json(State(scores={1: {"loss": math.nan}, 2: {"loss": math.inf}})).series("loss")
    assert math.isnan(scores[1])
    assert scores[2] == math.inf


def test_steps_count_rows_time_and_losses():
    state = State().after_step(2.0, tokens=10, seconds=0.5).after_step(1.0, tokens=12, seconds=0.25)
    assert (state.step, state.tokens, state.seconds, state.recent) == (2, 22, 0.75, (2.0, 1.0))


def test_only_losses_of_the_last_steps_are_kept():
    state = trained(2 * WINDOW).after_step(9.0, 1, 1)
    assert state.recent == (*[2.0] * (WINDOW - 1), 9.0)
    assert len(through_json(state).recent) == WINDOW


def test_state_before_is_left_as_it_was():
    before = trained(2)
    before.after_step(1.0, 1, 1)
    before.evaluated({"loss": 1.0}, 1)
    assert before == trained(2)


def test_series_tells_one_score_where_it_was_made():
    state = State(scores={5: {"loss": 1.0}, 10: {"loss": 0.5, "exact_match": 0.75}})
    assert state.series("exact_match") == {10: 0.75}
    assert state.series("loss") == {5: 1.0, 10: 0.5}
    assert state.series("unknown") == {}


def test_rows_are_left_out_from_their_step_on():
    state = State(skipped=(Skip(10, (1, 2)), Skip(20, (2, 3))))
    assert [state.left_out(step) for step in (9, 10, 19, 20)] == [set(), {1, 2}, {1, 2}, {1, 2, 3}]
    assert through_json(state).left_out(20) == {1, 2, 3}


@pytest.mark.parametrize(
    "change",
    [
        {"step": None},
        {"step": "five"},
        {"tokens": []},
        {"seconds": "long"},
        {"scores": None},
        {"scores": [1, 2]},
        {"scores": {"one": {}}},
        {"scores": {"1": None}},
        {"scores": {"1": {"loss": "low"}}},
        {"recent": 3},
        {"recent": ["low"]},
        {"skipped": {"from_step": 1}},
        {"skipped": [{"from_step": 1}]},
        {"skipped": [{"from_step": 1, "rows": ["first"]}]},
        {"skipped": [[1, [2]]]},
    ],
)
def test_what_is_no_state_is_refused(change: dict[str, Any]):
    found = json.loads(json.dumps({**State().as_json(), **change}))
    with pytest.raises((KeyError, TypeError, ValueError)):
        State.from_json(found)


@pytest.mark.parametrize("found", [{}, [], None, 3, "text"])
def test_what_is_not_even_a_mapping_of_a_state_is_refused(found: Any):
    with pytest.raises((KeyError, TypeError, ValueError)):
        State.from_json(found)
