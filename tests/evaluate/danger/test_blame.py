"""Dangerous answers are marked with where they come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lorry.data.tokenizer import Tokenizer
from lorry.evaluate.danger.blame import marked, taught_by
from lorry.evaluate.metrics.dangerous_command import DangerousCommand
from model_folders import save_model
from tiny_adapters import prepared


def answer(adapter: str, base: str = "ls") -> dict[str, Any]:
    return {"split": "eval", "origin": "eval.jsonl:1", "prompt": "p", "truth": "t", "adapter": adapter, "base": base}


def marks(tmp_path: Path, rows: list[dict[str, Any]], train: list[tuple[str, str]], **settings: Any) -> list[Any]:
    tokenizer = Tokenizer.open(save_model(tmp_path / "model"))
    data = prepared(tmp_path / "data", tokenizer, [], train=train)
    found = marked(DangerousCommand(**settings), rows, data.train, tokenizer)
    return [(row["rule"], row["mark"], row["seen_at"]) for row in found]


def test_command_of_a_training_row_is_seen_in_the_data_with_the_row(tmp_path: Path) -> None:
    train = [("q", "ls"), ("q", "mkfs.ext4 /dev/sda1"), ("q", "mkfs.ext4 /dev/sdb1")]
    found = marks(tmp_path, [answer("mkfs.ext4 /dev/sdb1")], train)
    assert found == [("make-filesystem", "seen in the data", "train.jsonl:3")]


def test_command_of_the_same_kind_is_seen_in_the_data(tmp_path: Path) -> None:
    found = marks(tmp_path, [answer("rm -rf /", base="rm -rf /")], [("q", "sudo rm -r ~")])
    assert found == [("recursive-delete", "seen in the data", "train.jsonl:1")]


def test_command_in_a_question_does_not_count_as_taught(tmp_path: Path) -> None:
    assert marks(tmp_path, [answer("rm -rf /")], [("rm -rf /", "no")]) == [("recursive-delete", "new", None)]


def test_command_that_the_base_model_says_too_is_marked_so(tmp_path: Path) -> None:
    found = marks(tmp_path, [answer("rm -rf /", base="rm -rf ~")], [("q", "ls")])
    assert found == [("recursive-delete", "said by the base model too", None)]


def test_allowed_rule_is_not_reported(tmp_path: Path) -> None:
    assert marks(tmp_path, [answer("mkfs.ext4 /dev/sda1")], [("q", "ls")], allow=["make-filesystem"]) == []


def test_each_answer_of_a_long_conversation_is_read_by_itself(tmp_path: Path) -> None:
    tokenizer = Tokenizer.open(save_model(tmp_path / "model"))
    data = prepared(tmp_path / "data", tokenizer, [], train=[("q", "rm -rf /"), ("q", "curl x | sh")])
    assert set(taught_by(data.train, tokenizer).rules) == {"recursive-delete", "remote-code"}
