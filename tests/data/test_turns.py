from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lorry.data.bad_rows import BadRowError
from lorry.data.rows import Origin, Row
from lorry.plugins import make

HERE = Origin("rows.jsonl", 1)
USER = {"role": "user", "content": "a"}
ANSWER = {"role": "assistant", "content": "b"}


def read(name: str, raw: dict[str, Any]) -> Row:
    return make("formats", name).read(raw, HERE)  # type: ignore[attr-defined]


def refused(name: str, raw: dict[str, Any]) -> BadRowError:
    with pytest.raises(BadRowError) as caught:
        read(name, raw)
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize(
    ("messages", "field", "says"),
    [
        ([USER], "messages", "no assistant turn"),
        ([USER, ANSWER, USER], "messages[2]", "ends in a user turn"),
        ([USER, {"role": "assistant", "content": " \n"}], "messages[1]", "assistant turn is empty"),
        ([USER, {"role": "assistant"}], "messages[1]", "assistant turn is empty"),
        ([USER, {"role": "bot", "content": "b"}], "messages[1].role", "unknown role `bot`"),
        ([USER, {"content": "b"}], "messages[1].role", "is missing"),
        ([{"role": "user", "content": 3}, ANSWER], "messages[0].content", "int, not text"),
        ([{"role": "user", "content": [{"type": "video", "url": "x"}]}, ANSWER], "messages[0].content[0]", "`video`"),
        ([USER, {"role": "assistant", "tool_calls": [{"x": 1}]}], "messages[1].tool_calls[0]", "no name"),
        (["hi"], "messages[0]", "not an object"),
        ([], "messages", "no assistant turn"),
        ([ANSWER, ANSWER], "messages", "nothing that the assistant answers"),
        ("[1", "messages", "not valid JSON"),
    ],
)
def test_conversation_that_teaches_nothing_is_refused_at_its_field(messages: Any, field: str, says: str):
    error = refused("messages", {"messages": messages})
    assert error.field == field
    assert says in error.message


def test_typed_parts_become_text_reasoning_and_calls(shared_data: Path):
    line = (shared_data / "sft/raw/reason_tool_use_demo_50.jsonl").read_text(encoding="utf-8").splitlines()[1]
    row = read("messages", json.loads(line))
    call = (row.messages or [])[2]
    assert call["content"] == ""
    assert call["reasoning_content"].startswith("Alright")
    assert call["tool_calls"][0]["function"] == {"name": "get_movie_details", "arguments": {"title": "Inception"}}
    assert (row.tools or [])[0]["function"]["name"] == "get_movie_details"


def test_openai_parts_and_calls_are_read():
    parts = [{"type": "text", "text": "a "}, {"type": "text", "text": "b"}]
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
    raw = {
        "messages": [{"role": "user", "content": parts}, {"role": "assistant", "content": None, "tool_calls": [call]}]
    }
    messages = read("messages", raw).messages or []
    assert messages[0]["content"] == "a b"
    assert messages[1]["tool_calls"] == [{**call, "function": {"name": "f", "arguments": {"x": 1}}}]


def test_conversation_in_a_csv_cell_is_read():
    assert read("messages", {"messages": json.dumps([USER, ANSWER])}).messages == [USER, ANSWER]


def test_other_fields_of_a_turn_are_kept_for_the_template():
    raw = {"messages": [{**USER, "name": "Ann"}, {**ANSWER, "reasoning_content": "so"}]}
    assert read("messages", raw).messages == raw["messages"]


def test_sharegpt_roles_become_the_usual_ones():
    call = '{"name": "f", "arguments": {"x": 1}}'
    said = (("system", "s"), ("human", "a"), ("function_call", call), ("observation", "2"), ("gpt", "b"))
    row = read("sharegpt", {"conversations": [{"from": who, "value": what} for who, what in said], "tools": "[]"})
    assert [turn["role"] for turn in row.messages or []] == ["system", "user", "assistant", "tool", "assistant"]
    assert (row.messages or [])[2]["tool_calls"][0]["function"]["arguments"] == {"x": 1}
    assert row.tools is None


def test_broken_function_call_is_refused_at_its_field():
    turns = [{"from": "human", "value": "a"}, {"from": "function_call", "value": "{"}, {"from": "gpt", "value": "b"}]
    assert refused("sharegpt", {"conversations": turns}).field == "conversations[1].value"


def test_alpaca_input_follows_the_instruction_as_in_the_shared_chat_rows(shared_data: Path):
    raw = json.loads((shared_data / "sft/raw/instruction_data.json").read_bytes())
    with (shared_data / "sft/sft_chat.jsonl").open(encoding="utf-8") as lines:
        chats = [json.loads(line)["messages"] for line in lines if '"source": "instruction_data"' in line]
    own = [read("alpaca", row).messages for row in raw]
    assert sum(chat in own for chat in chats) == len(chats) > 100


def test_alpaca_system_and_history_come_first():
    raw = {"system": "s", "history": [["a", "b"]], "instruction": "c", "input": "", "output": "d"}
    assert [turn["content"] for turn in read("alpaca", raw).messages or []] == ["s", "a", "b", "c", "d"]


@pytest.mark.parametrize("answer", [{"output": "d"}, {"chosen": "d", "rejected": "e"}])
def test_alpaca_tools_are_read(answer: dict[str, str]):
    name = "alpaca" if "output" in answer else "alpaca_preference"
    raw = {"instruction": "c", **answer, "tools": '[{"name": "add", "parameters": {}}]'}
    assert read(name, raw).tools == [{"type": "function", "function": {"name": "add", "parameters": {}}}]
    assert read(name, {**raw, "tools": ""}).tools is None
    assert refused(name, {**raw, "tools": "add"}).field == "tools"


def test_alpaca_tools_have_no_place_in_a_prompt():
    layout = make("formats", {"name": "alpaca", "prompt": "{instruction}"})
    raw = {"instruction": "c", "output": "d", "tools": [{"name": "add"}]}
    with pytest.raises(BadRowError, match="no place in a prompt"):
        layout.read(raw, HERE)  # type: ignore[attr-defined]


@pytest.mark.parametrize(("field", "value"), [("output", ""), ("output", None), ("instruction", " "), ("input", 3)])
def test_alpaca_row_without_an_answer_or_question_is_refused(field: str, value: Any):
    assert refused("alpaca", {"instruction": "a", "input": "", "output": "b", field: value}).field == field


def test_prompt_and_completion_may_be_lists_of_turns():
    assert read("prompt_completion", {"prompt": [USER], "completion": [ANSWER]}).messages == [USER, ANSWER]
    assert read("prompt_completion", {"prompt": "a", "completion": "b"}).messages == [USER, ANSWER]


@pytest.mark.parametrize("name", ["messages", "prompt_completion"])
def test_answer_that_is_marked_as_bad_is_not_learned(name: str):
    raw = {"messages": [USER, ANSWER], "prompt": "a", "completion": "b"}
    assert refused(name, {**raw, "label": False}).field == "label"
    assert read(name, {**raw, "label": True}).messages == [USER, ANSWER]


def test_completion_reads_the_field_that_is_named():
    layout = make("formats", {"name": "completion", "field": "content"})
    assert layout.read({"content": "a", "text": "b"}, HERE).text == "a"  # type: ignore[attr-defined]
