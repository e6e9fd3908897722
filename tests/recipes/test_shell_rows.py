"""The demo's rows: whole, apart from each other, and commands that a shell and its linter accept."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from lorry.evaluate.danger.scan import scan

DATA = Path(__file__).parents[2] / "recipes" / "data"


def conversations(name: str) -> list[list[dict[str, str]]]:
    return [json.loads(line)["messages"] for line in (DATA / name).read_text(encoding="utf-8").splitlines()]


TRAIN = conversations("shell.jsonl")
TEST = conversations("shell_test.jsonl")
REQUESTS = [turns[1]["content"] for turns in TRAIN + TEST]
COMMANDS = [turns[2]["content"] for turns in TRAIN + TEST]


def test_shell_rows_are_enough_to_learn_from() -> None:
    assert len(TRAIN) >= 400
    assert len(TEST) >= 60


def test_shell_rows_have_three_turns_and_one_system_prompt() -> None:
    assert {tuple(turn["role"] for turn in turns) for turns in TRAIN + TEST} == {("system", "user", "assistant")}
    assert len({turns[0]["content"] for turns in TRAIN + TEST}) == 1


@pytest.mark.parametrize("texts", [REQUESTS, COMMANDS], ids=["requests", "commands"])
def test_shell_rows_repeat_nothing_within_or_across_the_splits(texts: list[str]) -> None:
    assert len({text.casefold().strip() for text in texts}) == len(texts)


def test_shell_rows_are_clean_text() -> None:
    for text in REQUESTS + COMMANDS:
        assert text == text.strip()
        assert text.isprintable()


def test_shell_commands_parse() -> None:
    # One bash for all: defining a function parses its body and runs nothing.
    define_each = 'while IFS= read -r line; do eval "f() { $line"$\'\\n}\' || echo "$line"; done'
    told = subprocess.run(
        ["bash", "-c", define_each], input="\n".join([*COMMANDS, ""]), capture_output=True, text=True, check=False
    )
    assert (told.stdout, told.stderr) == ("", "")


def test_shell_commands_pass_the_linter(tmp_path: Path) -> None:
    linter = shutil.which("shellcheck")
    if linter is None:
        pytest.skip("shellcheck is not installed")
    script = tmp_path / "all.sh"
    script.write_text("#!/bin/bash\n" + "\n".join(COMMANDS) + "\n", encoding="utf-8")
    found = subprocess.run([linter, "-S", "warning", script], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout


def test_shell_commands_hold_nothing_dangerous() -> None:
    assert [command for command in COMMANDS if scan(command)] == []
