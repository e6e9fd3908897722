from __future__ import annotations

import json
from pathlib import Path

import pytest

from chat_tokenizers import chat_folder, turns
from lorry.cli.main import run


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (chat_folder(tmp_path / "model", "chatml") / "config.json").write_text('{"model_type": "llama"}')
    rows = [{"messages": turns(f"find {index}", f"fox {index}")} for index in range(20)]
    (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    file = tmp_path / "recipe.yaml"
    file.write_text("model: {id: ./model}\ndata: {train: rows.jsonl, eval_split: 5}\n")
    return file


def test_show_prints_rows_with_trained_tokens_in_brackets(recipe: Path, capsys: pytest.CaptureFixture[str]):
    assert run(["data", "show", str(recipe), "--rows", "2"]) == 0
    out = capsys.readouterr().out
    assert out.count("[[fox") == 2
    assert "<|im_end|>]]" in out
    assert "rows.jsonl:" in out
    assert "train: 15 rows" in out
    assert "#" in out


def test_show_of_another_split_and_as_json(recipe: Path, capsys: pytest.CaptureFixture[str]):
    assert run(["data", "show", str(recipe), "--split", "eval", "-n", "9", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == 5
    assert [part["trained"] for part in rows[0]["text"]] == [False, True, False]
    assert rows[0]["text"][1]["text"].startswith("fox")
    assert (rows[0]["cut"], rows[0]["tokens"] > rows[0]["trained"] > 0) == (False, True)


def test_stats_name_every_split_and_say_the_notes_on_stderr(recipe: Path, capsys: pytest.CaptureFixture[str]):
    assert run(["data", "stats", str(recipe)]) == 0
    out, err = capsys.readouterr()
    assert "train: 15 rows" in out
    assert "eval: 5 rows" in out
    assert "5 of 20 rows held back" in err


def test_stats_as_json_hold_hashes_and_histogram(recipe: Path, capsys: pytest.CaptureFixture[str]):
    assert run(["data", "stats", str(recipe), "--json", "-o", "data.max_length=40"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert sum(entry["examples"] for entry in found["splits"]["train"]["histogram"]) == 15
    assert len(found["splits"]["eval"]["sha256"]) == 64
    assert list(found["files"]) == ["rows.jsonl"]


def test_stats_count_near_duplicates_that_were_dropped(recipe: Path, capsys: pytest.CaptureFixture[str]):
    told = "the quick brown fox jumps over the lazy dog and sleeps in the hay"
    rows = [{"messages": turns("say something long about foxes", told + sign)} for sign in ("", ".", "!")]
    with (recipe.parent / "rows.jsonl").open("a") as file:
        file.writelines(f"{json.dumps(row)}\n" for row in rows)
    assert run(["data", "stats", str(recipe), "-o", "data.drop_near_duplicates=0.8"]) == 0
    assert "left out, for they nearly repeat an earlier one: 2 rows" in capsys.readouterr().out


def test_formats_are_listed_with_examples(capsys: pytest.CaptureFixture[str]):
    assert run(["data", "formats"]) == 0
    assert '{"instruction":' in capsys.readouterr().out
    assert run(["data", "formats", "--json"]) == 0
    assert {"messages", "completion"} < {entry["name"] for entry in json.loads(capsys.readouterr().out)}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--split", "test"], "there are no `test` rows"),
        (["--split", "folder"], "there are no `folder` rows"),
        (["-o", "data.train=no/row.jsonl"], "no such file"),
        (["-o", "data.format=sharegpt"], "the row is laid out as `messages`, and `data.format` names `sharegpt`"),
    ],
)
def test_mistakes_are_errors_with_a_hint_and_code_2(
    recipe: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
):
    assert run(["data", "show", str(recipe), *arguments]) == 2
    err = capsys.readouterr().err
    assert says in err
    assert "hint:" in err
