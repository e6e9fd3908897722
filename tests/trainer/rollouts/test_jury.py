from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from lorry.errors import InputError
from lorry.trainer.rewards._base import Completion, Fault, Place, Reward
from lorry.trainer.rollouts.jury import Jury, rewards_of
from subjects import recipe


class Fixed:
    """A reward that says what it is told to."""

    def __init__(self, *scores: float | Fault | None) -> None:
        self._scores = [*scores]

    def scores(self, completions: Sequence[Completion]) -> list[float | Fault | None]:
        return [self._scores.pop(0) for _ in completions]

    def close(self) -> None:
        pass


def answers(*rewards: str | list[str] | None) -> list[Completion]:
    return [Completion("yes", [], columns={} if one is None else {"rewards": one}) for one in rewards]


def weighing(weight: float) -> Reward:
    (reward,) = rewards_of([{"name": "metric", "metric": "exact_match", "weight": weight}]).values()
    return reward


def test_rewards_are_weighted_and_added_up():
    jury = Jury({"one": (weighing(2.0), Fixed(1.0, 0.5)), "other": (weighing(-1.0), Fixed(0.25, 1.0))})
    judged = jury.judge(answers(None, None))
    assert judged.totals.tolist() == [1.75, 0.0]
    assert judged.means() == {"reward": 0.875, "reward_one": 0.75, "reward_other": 0.625}


def test_fault_is_that_answers_zero_and_is_told_once():
    jury = Jury({"one": (weighing(1.0), Fixed(Fault("broken"), 1.0, Fault("broken")))})
    judged = jury.judge(answers(None, None, None))
    assert judged.totals.tolist() == [0.0, 1.0, 0.0]
    assert judged.faults == ["one: broken (of 3 answers 2 could not be judged)"]


def test_judging_is_seen_to_go_on_between_answers():
    jury, seen = Jury({"one": (weighing(1.0), Fixed(1.0, 0.0, 1.0))}), list[None]()
    jury.beat = lambda: seen.append(None)
    assert jury.judge(answers(None, None, None)).totals.tolist() == [1.0, 0.0, 1.0]
    assert len(seen) == 3


def test_function_as_a_metric_is_found_beside_the_recipe_and_called_in_one_process(tmp_path: Path):
    (tmp_path / "m.py").write_text("import os\ndef f(completion): return os.getpid() if completion else 8e9", "utf-8")
    metric = {"name": "python", "file": "m.py", "function": "f", "most": 7e9}
    place = Place(recipe(), tmp_path, tmp_path)
    jury = Jury.open([{"name": "metric", "metric": metric}], place)
    try:
        first, bad, second = jury.judge([*answers(None), Completion("", []), *answers(None)]).totals.tolist()
    finally:
        jury.close()
    assert bad == 0
    assert 0 < first == second != os.getpid()


def test_function_as_a_metric_may_be_one_of_which_less_is_better(tmp_path: Path):
    (tmp_path / "m.py").write_text("def f(completion): return 0.25", "utf-8")
    metric = {"name": "python", "file": "m.py", "function": "f", "better": "lower"}
    jury = Jury.open([{"name": "metric", "metric": metric}], Place(recipe(), tmp_path, tmp_path))
    assert jury.judge(answers(None)).totals.tolist() == [0.75]
    jury.close()


def test_row_names_the_rewards_that_count_for_it():
    jury = Jury({"one": (weighing(1.0), Fixed(1.0, 1.0)), "other": (weighing(1.0), Fixed(1.0))})
    judged = jury.judge(answers("one", ["one", "other"]))
    assert judged.totals.tolist() == [1.0, 2.0]
    assert judged.each["other"] == [None, 1.0]


def test_second_reward_of_a_name_gets_a_number():
    specs = [{"name": "metric", "metric": "exact_match"}, {"name": "metric", "metric": {"name": "exact_match"}}]
    assert [*rewards_of(specs)] == ["exact_match", "exact_match_2"]


def test_unknown_reward_is_refused():
    with pytest.raises(InputError, match="no reward is called `luck`"):
        rewards_of([{"name": "luck"}])


@pytest.mark.parametrize("score", [float("nan"), float("inf"), -1e300])
def test_score_that_is_no_number_to_learn_from_is_a_fault(score):
    judged = Jury({"one": (weighing(1.0), Fixed(score, 1.0))}).judge(answers(None, None))
    assert judged.totals.tolist() == [0.0, 1.0]
    assert len(judged.faults) == 1


@pytest.mark.parametrize(("weight", "expected"), [(1.0, [-5.0, -4.0, -5.0, -3.0]), (-1.0, [5.0, 4.0, 0.0, 3.0])])
def test_answer_that_cannot_be_judged_is_never_the_best(weight, expected):
    judge = Fixed(-5.0, -4.0, Fault("too long"), -3.0)
    assert Jury({"one": (weighing(weight), judge)}).judge(answers(*[None] * 4)).totals.tolist() == expected


def test_no_two_rewards_get_one_name():
    specs = [
        {"name": "python", "file": file, "function": name} for file, name in (("a", "f_2"), ("a", "f"), ("b", "f"))
    ]
    assert [*rewards_of(specs)] == ["f_2", "f", "f_3"]
