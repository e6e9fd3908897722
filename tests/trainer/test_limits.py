from __future__ import annotations

from typing import Any

import pytest

from lorry.recipe.schema import Recipe
from lorry.track.events import Event
from lorry.trainer.limits import Limits, was_warned
from lorry.trainer.saving.state import State
from lorry.trainer.watched import Watched


class Told:
    """Keeps what is told."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def append(self, kind: str, *, step: int | None = None, **data: Any) -> None:
        self.events.append(Event(len(self.events) + 1, 0.0, kind, step=step, data=data))

    def beat(self, phase: str, step: int) -> None: ...

    def end(self, kind: str, **data: Any) -> None: ...


def limits(seconds: float = 0.0, *, stops_by: Watched | None = None, was_told: bool = False, **sections: Any):
    recipe = Recipe.model_validate({"model": {"id": "org/tiny"}, "data": {"train": "rows.jsonl"}, **sections})
    told = Told()
    return Limits(recipe, told, stops_by, lambda: seconds, was_told), told.events


def test_budget_is_told_once_before_it_is_used_up():
    found, told = limits(0.9 * 3600, budget={"hours": 1})
    assert [found.budget_is_used_up(State(step=step), 9) for step in (1, 2)] == [False, False]
    assert [(event.kind, event.step) for event in told] == [("budget", 1)]


def test_budget_that_is_used_up_ends_with_the_price_of_the_rest():
    found, told = limits(3600, budget={"hours": 1, "usd": 9, "price_per_hour": 2})
    assert found.budget_is_used_up(State(step=10, seconds=3600), 20)
    assert told[0].data["message"].endswith("the other 10 steps would take about 1.00 hours and 2.00 US dollars")


def test_budget_that_is_used_up_with_the_last_step_is_no_news():
    found, told = limits(3600, budget={"hours": 1})
    assert found.budget_is_used_up(State(step=20), 20)
    assert told == []


def test_an_attempt_does_not_repeat_the_warning_of_the_one_before_unless_the_budget_changed():
    found, told = limits(0.9 * 3600, budget={"hours": 1})
    found.budget_is_used_up(State(step=1), 9)
    assert was_warned(told, found.recipe.budget)
    assert not was_warned(told, limits(budget={"hours": 2})[0].recipe.budget)
    again, nothing = limits(0.9 * 3600, was_told=True, budget={"hours": 1})
    again.budget_is_used_up(State(step=2), 9)
    assert nothing == []


@pytest.mark.parametrize(("higher", "ended"), [(False, True), (True, False)])
def test_patience_knows_which_way_is_better(higher, ended):
    found, told = limits(stops_by=Watched("loss", higher), train={"early_stop": {"patience": 2}})
    state = State(step=3, scores={step: {"loss": float(step)} for step in (1, 2, 3)})
    assert found.patience_is_out(state, 9) is ended
    assert [event.kind for event in told] == ["early_stop"] * ended


def test_patience_ends_nothing_after_the_last_step():
    found, told = limits(stops_by=Watched(), train={"early_stop": {"patience": 1}})
    state = State(step=3, scores={step: {"loss": float(step)} for step in (1, 2, 3)})
    assert not found.patience_is_out(state, 3)
    assert told == []
