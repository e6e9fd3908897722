"""Rewards and rollouts before anything is spent: files, functions, adapters, names, rows and room."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lorry import plugins
from lorry.plan.check import check
from lorry.plan.checks._base import Check
from lorry.plan.findings import Finding
from lorry.plan.subject import Subject
from subjects import save_rows, subject

PROMPTS = [{"prompt": f"Say {number}", "answer": str(number)} for number in range(12)]


def given(folder: Path, *rewards: Any, rows: list[Any] | None = None, **sections: Any) -> Subject:
    method = {"name": "grpo", "group_size": 4, "max_new_tokens": 16, "rewards": list(rewards or ["exact_match"])}
    method |= sections.pop("method", {})
    return subject(folder, rows=PROMPTS if rows is None else rows, method=method, **sections)


def run(name: str, asked: Subject) -> dict[str, Finding]:
    made = plugins.make("checks", name)
    assert isinstance(made, Check)
    return {finding.code: finding for finding in made.run(asked)}


def of_file(folder: Path, text: str, function: str = "f") -> dict[str, Finding]:
    (folder / "mine.py").write_text(text, encoding="utf-8")
    return run("rewards", given(folder, f"mine.py:{function}"))


def test_sound_rewards_have_nothing_to_say(tmp_path: Path):
    assert of_file(tmp_path, "raise SystemExit\ndef f(completion): return 1") == {}
    assert run("rollouts", given(tmp_path)) == {}
    found = check(given(tmp_path, train={"steps": 4}))
    assert [one for one in found if one.severity == "error"] == []


def test_file_that_is_not_there_is_told(tmp_path: Path):
    found = run("rewards", given(tmp_path, "exact_match", "none.py:f"))["rewards.file"]
    assert (found.message, found.place) == ("there is no `none.py`", "method.rewards[1]")


def test_file_of_a_metric_is_looked_for_beside_the_recipe(tmp_path: Path):
    asked = given(tmp_path, {"name": "metric", "metric": {"name": "python", "file": "mine.py", "function": "f"}})
    assert "rewards.unavailable" in run("rewards", asked)
    (tmp_path / "mine.py").write_text("def f(completion): return 1", encoding="utf-8")
    assert run("rewards", asked) == {}


def test_file_that_is_in_the_clone_alone_is_noted(tmp_path: Path):
    compute = {"on": ["runpod"], "code": f"https://host.example/mine.git@{'a' * 40}"}
    found = run("rewards", given(tmp_path, "judges/none.py:f", compute=compute))
    assert {code: one.severity for code, one in found.items()} == {"rewards.in-clone": "note"}


def test_syntax_error_is_told_with_its_line(tmp_path: Path):
    found = of_file(tmp_path, "def f(completion):\n    return 1 +\n")["rewards.syntax"]
    assert found.place == f"{tmp_path / 'mine.py'}:2"
    assert "invalid syntax" in found.message


def test_function_that_is_not_there_is_told_with_those_that_are(tmp_path: Path):
    found = of_file(tmp_path, "def g(): ...\nasync def h(): ...")["rewards.function"]
    assert (found.message, found.remedy) == ("`mine.py` has no function `f`", "it has `g`")


def test_async_function_is_refused(tmp_path: Path):
    assert "`f` is `async`" in of_file(tmp_path, "async def f(completion): ...")["rewards.function"].message


@pytest.mark.parametrize(
    "text", ["from judges import f", "f = print", "from judges import *", "if 1:\n    def f(): ..."]
)
def test_what_may_be_a_function_is_let_pass(tmp_path: Path, text: str):
    assert of_file(tmp_path, text) == {}


@pytest.mark.parametrize(
    "reward",
    [{"name": "nothing"}, "exact_mtch", {"name": "metric", "metric": "exact_match", "wait": 1}],
    ids=["reward", "metric", "setting"],
)
def test_unknown_reward_metric_or_setting_is_told(tmp_path: Path, reward: Any):
    assert run("rewards", given(tmp_path, reward))["rewards.unknown"].severity == "error"


def test_metric_that_cannot_work_here_is_refused_for_a_run_here_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run("rewards", given(tmp_path, "bash_valid"))["rewards.unavailable"].refusal
    assert run("rewards", given(tmp_path, "bash_valid", compute={"on": ["runpod"]})) == {}


def test_rewards_of_one_name_are_told_with_the_names_that_they_get(tmp_path: Path):
    found = run("rewards", given(tmp_path, "exact_match", {"name": "metric", "metric": "exact_match", "weight": 2}))
    assert found["rewards.same-name"].message == "2 rewards are called `exact_match`: `exact_match`, `exact_match_2`"
    assert found["rewards.same-name"].severity == "note"


def test_rows_without_a_truth_are_told_where_one_is_needed(tmp_path: Path):
    rows = [*PROMPTS, {"prompt": "What is new?"}, {"prompt": "What is old?", "rewards": ["bash_valid"]}]
    found = run("rewards", given(tmp_path, "exact_match", "bash_valid", rows=rows, data={"eval_split": 0}))[
        "rewards.no-truth"
    ]
    assert (found.severity, found.place) == ("warning", "rows.jsonl:13")
    assert "1 of 14 rows" in found.message


def test_rows_of_which_none_has_a_truth_are_an_error(tmp_path: Path):
    rows = [{"prompt": f"What is {number}?"} for number in range(8)]
    assert run("rewards", given(tmp_path, rows=rows))["rewards.no-truth"].severity == "error"


def test_row_that_names_none_of_the_rewards_is_told(tmp_path: Path):
    save_rows(tmp_path / "rows.jsonl", [*PROMPTS, {"prompt": "What?", "answer": "That", "rewards": ["exact"]}])
    found = run("rewards", given(tmp_path, data={"eval_split": 0}))["rewards.row-without"]
    assert (found.place, found.remedy) == ("rows.jsonl:13", "the recipe's rewards are called `exact_match`")


def test_answers_that_are_no_whole_groups_are_told_with_numbers_that_are(tmp_path: Path):
    asked = given(tmp_path, train={"micro_batch": 3, "accumulation": 3})
    found = run("rollouts", asked)["rollouts.groups"]
    assert (found.place, found.remedy) == (
        "train.accumulation",
        "set train.micro_batch x train.accumulation to a multiple of 4, such as 12",
    )
    errors = [one.code for one in check(asked) if one.severity == "error"]
    assert errors == ["rollouts.groups"]


@pytest.mark.parametrize(
    ("sections", "told"),
    [({"lora": None}, "all weights are trained"), ({"lora": {"dora": True}}, "no DoRA"), ({"lora": {"rank": 8}}, "")],
)
def test_what_vllm_cannot_answer_for_is_told_before_it_is_started(sections: dict[str, Any], told: str, tmp_path: Path):
    found = run("rollouts", given(tmp_path, **sections, method={"engine": "vllm"}))
    assert ("rollouts.vllm" in found) == bool(told)
    assert not told or told in found["rollouts.vllm"].message


def test_lengths_that_leave_no_room_are_told_and_so_are_all_rows(tmp_path: Path):
    asked = given(tmp_path, data={"max_length": 16})
    assert run("rollouts", asked)["rollouts.no-room"].place == "data.max_length"
    unusable = run("data", asked)["data.unusable"]
    assert "the prompt leaves no room for an answer of 16 tokens within max_length 16" in unusable.message
    assert "method.max_new_tokens" in unusable.remedy


def test_prompts_that_are_too_long_are_counted(tmp_path: Path):
    rows = [*PROMPTS, {"prompt": "word " * 200, "answer": "x"}]
    found = run("data", given(tmp_path, rows=rows, data={"max_length": 100}))["data.left-out"]
    assert found.message.startswith("1 row left out: the prompt leaves no room for an answer of 16 tokens")


def test_what_means_nothing_or_little_is_noted(tmp_path: Path):
    found = run("rollouts", given(tmp_path, data={"packing": True}, lora={"dropout": 0.1}))
    assert {code: (one.severity, one.place) for code, one in found.items()} == {
        "rollouts.packing": ("note", "data.packing"),
        "rollouts.dropout": ("note", "lora.dropout"),
    }


def test_other_methods_are_none_of_their_business(tmp_path: Path):
    asked = subject(tmp_path, data={"packing": True})
    assert run("rollouts", asked) == run("rewards", asked) == {}
