"""Rows that the recipe reads in a way of their own: names of columns, turns and roles, formats, and how many."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lorry.data.naming import renamed
from lorry.data.prepare import Prepared, prepare
from lorry.data.rows import Origin
from lorry.data.tokenizer import Tokenizer
from lorry.errors import LorryError
from lorry.recipe.load import from_dict
from lorry.recipe.sources import Source
from model_folders import save_model
from tiny_runs import chat_rows, write_rows

ROLES = {"user": ["customer"], "assistant": ["agent"]}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model"))


def given_names(raw: dict[str, Any], **source: Any) -> dict[str, Any]:
    ((row, _),) = renamed([(raw, Origin("rows.jsonl", 1))], Source(path="rows.jsonl", **source))
    return row


def ready(model: Path, folder: Path, train: Any, **data: Any) -> Prepared:
    method = data.pop("method", "sft")
    given = {"model": {"id": str(model)}, "method": method, "data": {"train": train, "eval_split": 0, **data}}
    return prepare(from_dict(given, folder).recipe, folder, Tokenizer.open(model))


def asked(found: Prepared) -> list[str]:
    return [task.messages[-1]["content"] for task in found.tasks("train")]


def test_columns_take_the_names_that_formats_know():
    row = {"question": "2 + 2?", "answer": "4", "id": 7}
    assert given_names(row, columns={"instruction": "question", "output": "answer"}) == {
        "instruction": "2 + 2?",
        "output": "4",
        "id": 7,
    }


def test_column_that_another_takes_the_name_of_is_not_read():
    row = {"instruction": "old", "question": "new", "input": "x"}
    assert given_names(row, columns={"instruction": "question", "input": None}) == {"instruction": "new"}


def test_columns_can_change_places():
    assert given_names({"input": "a", "output": "b"}, columns={"input": "output", "output": "input"}) == {
        "input": "b",
        "output": "a",
    }


def test_turns_and_roles_take_the_names_that_formats_know():
    row = {"dialog": [{"who": "customer", "said": "Hello"}, {"who": "agent", "said": "Hi"}]}
    source: dict[str, Any] = {"columns": {"messages": "dialog"}, "turns": {"role": "who", "content": "said"}}
    assert given_names(row, roles=ROLES, **source) == {
        "messages": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}]
    }


def test_single_turns_of_pairs_are_renamed_too():
    row = {"chosen": {"who": "agent", "said": "Hi"}, "prompt": "Hello"}
    assert given_names(row, turns={"role": "who", "content": "said"}, roles=ROLES) == {
        "chosen": {"role": "assistant", "content": "Hi"},
        "prompt": "Hello",
    }


def test_system_turns_are_left_out_on_request():
    row = {"messages": [{"role": "boss", "content": "Be kind"}, {"role": "user", "content": "Hi"}]}
    assert given_names(row, roles={"system": ["boss"]}, drop_system=True)["messages"] == [
        {"role": "user", "content": "Hi"}
    ]


@pytest.mark.parametrize("hostile", [None, 3, "text", [None, 3, "x"], [[]], {}, [{"who": 1}], [{}]])
def test_what_is_no_turn_stays_for_the_format_to_judge(hostile: Any):
    row = {"messages": hostile}
    assert given_names(row, turns={"name": "speaker"}, roles=ROLES)["messages"] == hostile


def test_files_of_several_layouts_are_read_each_in_its_own(model: Path, tmp_path: Path):
    write_rows(tmp_path / "chat.jsonl", chat_rows(2))
    write_rows(tmp_path / "qa.jsonl", [{"q": "How many?", "a": "Two"}, {"q": "Which?", "a": "Both"}])
    qa = {"path": "qa.jsonl", "format": "alpaca", "columns": {"instruction": "q", "output": "a"}}
    assert asked(ready(model, tmp_path, ["chat.jsonl", qa])) == ["red 0", "green 1", "How many?", "Which?"]


def test_first_rows_of_a_source_are_taken_over_all_its_files(model: Path, tmp_path: Path):
    for name in ("a", "b"):
        write_rows(tmp_path / f"{name}.jsonl", chat_rows(3))
    assert len(asked(ready(model, tmp_path, {"path": "*.jsonl", "rows": 4}))) == 4


def test_same_file_may_be_read_in_two_ways(model: Path, tmp_path: Path):
    write_rows(tmp_path / "rows.jsonl", [{"a": "one", "b": "two", "answer": "three"}])
    ways = [{"path": "rows.jsonl", "columns": {"instruction": name, "output": "answer"}} for name in ("a", "b")]
    assert asked(ready(model, tmp_path, ways)) == ["one", "two"]


def test_mixed_rows_within_one_source_are_refused_as_before(model: Path, tmp_path: Path):
    write_rows(tmp_path / "rows.jsonl", [*chat_rows(3), {"instruction": "Add", "output": "4"}])
    with pytest.raises(LorryError, match="laid out as `alpaca`, most rows as `messages`"):
        ready(model, tmp_path, {"path": "rows.jsonl", "turns": {"name": "speaker"}})


def test_long_rows_are_skipped_and_counted(model: Path, tmp_path: Path):
    rows = chat_rows(4)
    rows[1]["messages"][-1]["content"] = "red " * 400
    found = ready(model, tmp_path, str(write_rows(tmp_path / "r.jsonl", rows)), max_length=128, on_long_row="skip")
    assert found.facts.train.rows == 3
    assert found.facts.train.cut_rows == 0
    assert "1 row longer than max_length 128: skipped, as `data.on_long_row` says" in found.facts.notes


def test_rows_that_are_all_too_long_are_an_error_with_the_way_out(model: Path, tmp_path: Path):
    rows = chat_rows(2)
    for row in rows:
        row["messages"][-1]["content"] = "red " * 400
    write_rows(tmp_path / "rows.jsonl", rows)
    with pytest.raises(LorryError, match="every row is longer than max_length 128") as caught:
        ready(model, tmp_path, "rows.jsonl", max_length=128, on_long_row="skip")
    assert "data.on_long_row: cut" in caught.value.hint


def rendered(found: Prepared, model: Path) -> tuple[str, str]:
    """The first row as text, and the part of it that is learnt."""
    tokenizer, example = Tokenizer.open(model), found.train[0]
    whole, learnt = example.ids, example.ids[example.trained]
    return tuple(tokenizer.decode(ids.tolist(), skip_special_tokens=False) for ids in (whole, learnt))  # type: ignore[return-value]


def test_plain_template_writes_an_alpaca_prompt_sign_by_sign(model: Path, tmp_path: Path):
    row = {"instruction": "Spell {input}", "input": "freind", "output": "friend", "system": "Be short."}
    (tmp_path / "rows.json").write_text(json.dumps([row]))
    prompt = {"name": "alpaca", "prompt": "{system}Q: {instruction}\nI: {input}\nA: ", "system_format": "S: {system}\n"}
    found = ready(model, tmp_path, "rows.json", format=prompt, chat_template="plain")
    end = Tokenizer.open(model).special["eos_token"]
    assert rendered(found, model) == (
        f"S: Be short.\nQ: Spell {{input}}\nI: freind\nA: friend{end}",
        f"friend{end}",
    )


def test_prompt_without_input_serves_rows_that_have_none(model: Path, tmp_path: Path):
    (tmp_path / "rows.json").write_text(json.dumps([{"instruction": "Hi", "input": "", "output": "Ho"}]))
    layout = {"name": "alpaca", "prompt": "{instruction}|{input}", "prompt_without_input": "<{instruction}>"}
    assert asked(ready(model, tmp_path, "rows.json", format=layout, chat_template="plain")) == ["<Hi>"]


def test_template_may_be_jinja_itself(model: Path, tmp_path: Path):
    write_rows(tmp_path / "rows.jsonl", chat_rows(1))
    jinja = "{% for m in messages %}[{{ m.role }}] {{ m.content }}{{ eos_token }}{% endfor %}"
    whole, _ = rendered(ready(model, tmp_path, "rows.jsonl", chat_template=jinja), model)
    assert whole.startswith("[system] Say the word again.")


def test_jinja_that_cannot_be_compiled_is_an_error_with_its_line(model: Path, tmp_path: Path):
    write_rows(tmp_path / "rows.jsonl", chat_rows(1))
    with pytest.raises(LorryError, match="the chat template cannot be compiled: line 1"):
        ready(model, tmp_path, "rows.jsonl", chat_template="{% for m in messages %}{{ m.role }")


@pytest.mark.parametrize(
    ("source", "place", "message"),
    [
        ({"path": "a", "format": "alpaka"}, "data.train.format", "no format is called `alpaka`"),
        ({"path": "a", "format": {"name": "alpaca", "promt": "x"}}, "data.train.format.promt", "unknown key"),
        ({"path": "a", "colums": {}}, "data.train.colums", "unknown key"),
        ({"format": "alpaca"}, "data.train.path", "is missing"),
        ({"path": "a", "rows": 0}, "data.train.rows", "must be more than 0"),
        ({"path": "a", "roles": {"user": ["a"], "tool": ["a"]}}, "data.train.roles", "one name stands for two roles"),
        ({"path": "a", "roles": {"boss": ["a"]}}, "data.train.roles", "must be"),
        ({"path": "a", "columns": {"x": "y", "z": "y"}}, "data.train.columns", "one column stands for two"),
    ],
)
def test_faults_of_a_source_are_told_with_their_place(source: dict[str, Any], place: str, message: str):
    for train, where in ((source, place), (["rows.jsonl", source], place.replace("train", "train[1]"))):
        with pytest.raises(LorryError) as caught:
            from_dict({"model": {"id": "o/m"}, "data": {"train": train}}, Path())
        assert where in caught.value.place
        assert message in caught.value.message


def test_share_of_a_source_is_taken_from_its_beginning(model: Path, tmp_path: Path):
    write_rows(tmp_path / "rows.jsonl", chat_rows(8))
    assert asked(ready(model, tmp_path, {"path": "rows.jsonl", "rows": 0.25})) == ["red 0", "green 1"]
    assert len(asked(ready(model, tmp_path, {"path": "rows.jsonl", "rows": 0.01}))) == 1
