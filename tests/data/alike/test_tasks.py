"""What rows say, and what else sets them apart: instructions, tools, thoughts and images."""

from __future__ import annotations

from typing import Any

import pytest

from lorry.data.alike.repeats import Sketcher, Told, near_prompts_between, near_repeats
from lorry.data.alike.tasks import asked_and_answered, set_apart_by

ASKED = {"role": "user", "content": "What is written on the sign over the door of the old house by the harbour?"}
TOLD = "It says that the house was built by a captain in the year of the great storm, and that all are welcome."
TASK: dict[str, Any] = {"messages": [ASKED], "tools": None, "truth": TOLD, "origin": "rows.jsonl:1"}
OTHERS: dict[str, dict[str, Any]] = {
    "system": {"messages": [{"role": "system", "content": "Answer in French."}, ASKED]},
    "developer": {"messages": [{"role": "developer", "content": "Answer in French."}, ASKED]},
    "tools": {"tools": [{"type": "function", "function": {"name": "look"}}]},
    "thought": {"reasoning": "The sign is old, so I read it twice."},
    "earlier thought": {"messages": [{**ASKED, "reasoning_content": "Hm."}]},
    "image": {"images": [[0, "ab" * 32]]},
}


def told(*tasks: dict[str, Any]) -> Told:
    sketcher = Sketcher()
    for task in tasks:
        sketcher.add(*asked_and_answered(task), set_apart_by(task))
    return sketcher.told(lambda index: asked_and_answered(tasks[index]))


def repeats(*tasks: dict[str, Any], threshold: float = 0.8) -> dict[int, int]:
    return near_repeats(told(*tasks), threshold)


@pytest.mark.parametrize("threshold", [0.6, 0.8, 1])
@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_rows_set_apart_by_more_than_they_ask_and_answer_are_both_kept(other: dict[str, Any], threshold: float):
    assert repeats(TASK, {**TASK, **other}, threshold=threshold) == {}
    assert repeats({**TASK, **other}, TASK, {**TASK, **other}, threshold=threshold) == {2: 0}


@pytest.mark.parametrize("threshold", [0.6, 0.8, 1])
def test_equal_questions_about_different_images_are_both_kept(threshold: float):
    first, second = ({**TASK, "images": [[0, sha * 32]]} for sha in ("ab", "cd"))
    assert repeats(first, second, first, threshold=threshold) == {2: 0}
    both = {**TASK, "images": [[0, "ab" * 32], [1, "cd" * 32]]}
    assert repeats(first, both, threshold=threshold) == {}


def test_equal_questions_about_different_images_do_not_leak():
    first, second = ({**TASK, "images": [[0, sha * 32]]} for sha in ("ab", "cd"))
    assert near_prompts_between(told(first), told(second), 0.8) == {}
    assert near_prompts_between(told(first), told(first), 0.8) == {0: 0}
