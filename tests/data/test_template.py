from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chat_tokenizers import FAMILIES, chat_folder, tokenizer_folder, turns
from lorry.data.template import ChatTemplate
from lorry.data.tokenizer import Tokenizer
from lorry.data.turns import tools_of, turn
from lorry.errors import DataError

TALK = turns("find  files\n in a folder", "ls -la é 日本 🎉 \n\nthe end ", "again?", "the quick fox")


def reference(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(folder))


def assert_equal(folder: Path, messages: list[dict[str, Any]], tools: Any = None, **values: Any) -> None:
    own, theirs = Tokenizer.open(folder), reference(folder)
    for prompt in (False, True):
        expected = theirs.apply_chat_template(
            messages, tools=tools, add_generation_prompt=prompt, tokenize=False, **values
        )
        text = own.render(messages, tools=tools, add_generation_prompt=prompt, **values)
        assert text == expected
        ids = theirs.apply_chat_template(
            messages, tools=tools, add_generation_prompt=prompt, return_dict=False, **values
        )
        assert own.encode(text) == ids


@pytest.mark.parametrize("family", FAMILIES)
def test_conversation_renders_as_transformers_does(tmp_path: Path, family: str):
    assert_equal(chat_folder(tmp_path, family), TALK)


@pytest.mark.parametrize("family", ["chatml", "llama3", "qwen3", "plain"])
def test_system_turn_renders_as_transformers_does(tmp_path: Path, family: str):
    assert_equal(chat_folder(tmp_path, family), turns("hello", "the fox", system="be brief"))


@pytest.mark.parametrize("thinking", [True, False])
def test_template_arguments_reach_the_template(tmp_path: Path, thinking: bool):
    assert_equal(chat_folder(tmp_path, "qwen3"), TALK, enable_thinking=thinking)


@pytest.mark.parametrize("family", ["llama3", "qwen3"])
def test_real_tool_use_renders_as_transformers_does(tmp_path: Path, shared_data: Path, family: str):
    lines = (shared_data / "sft/raw/reason_tool_use_demo_50.jsonl").read_text(encoding="utf-8").splitlines()[:5]
    folder = chat_folder(tmp_path, family)
    for line in lines:
        raw = json.loads(line)
        messages = [turn(entry, "m") for entry in raw["messages"]]
        assert_equal(folder, messages, tools=tools_of(raw["tools"]))


def test_real_commands_render_as_transformers_does(tmp_path: Path, shared_data: Path):
    folder = chat_folder(tmp_path, "chatml")
    own, theirs = Tokenizer.open(folder), reference(folder)
    with (shared_data / "cli/cli_chat.jsonl").open(encoding="utf-8") as lines:
        rows = [json.loads(line)["messages"] for line, _ in zip(lines, range(300), strict=False)]
    for messages in rows:
        assert own.encode(own.render(messages)) == theirs.apply_chat_template(messages, return_dict=False)


def test_empty_fields_and_reasoning_reach_the_template_as_in_transformers(tmp_path: Path):
    folder = tokenizer_folder(tmp_path, "{% for m in messages %}{{ m }}{% endfor %}")
    messages = [{"role": "user", "content": "a", "name": None}, {"role": "assistant", "content": "b", "reasoning": "c"}]
    assert_equal(folder, messages)


def test_generation_marks_write_what_they_hold(tmp_path: Path):
    template = "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}"
    assert_equal(tokenizer_folder(tmp_path, template), TALK)


def test_loop_controls_and_dict_work_as_in_transformers(tmp_path: Path):
    template = "{% set d = dict(a=1) %}{% for m in messages %}{{ d.a }}{% break %}{% endfor %}{{ messages | tojson }}"
    assert_equal(tokenizer_folder(tmp_path, template), TALK)


def test_template_for_tools_is_used_for_tools(tmp_path: Path):
    named = [{"name": "default", "template": "plain"}, {"name": "tool_use", "template": "{{ tools | tojson }}"}]
    folder = tokenizer_folder(tmp_path, None, chat_template=named)
    assert_equal(folder, TALK)
    assert_equal(folder, TALK, tools=[{"type": "function", "function": {"name": "f", "parameters": {}}}])


def test_special_token_in_the_config_only_is_one_token(tmp_path: Path):
    decoder = {"9000": {"content": "<|extra|>", "special": True, "lstrip": False, "rstrip": False, "normalized": False}}
    folder = tokenizer_folder(tmp_path, "{{ eos_token }}<|extra|>", eos="<|fin|>", added_tokens_decoder=decoder)
    assert_equal(folder, TALK)
    assert len(Tokenizer.open(folder).encode("<|extra|><|fin|>")) == 2


def test_refusing_template_says_why(tmp_path: Path):
    tokenizer = Tokenizer.open(chat_folder(tmp_path, "gemma"))
    with pytest.raises(DataError, match="System role not supported") as caught:
        tokenizer.render(turns("a", "b", system="c"))
    assert "data.chat_template" in caught.value.hint


def test_syntax_error_names_its_line():
    with pytest.raises(DataError, match="line 2"):
        ChatTemplate("fine\n{% for %}")


@pytest.mark.parametrize(
    "template",
    [
        "{{ messages[0].nothing.at_all }}",
        "{{ messages[99].role }}",
        "{{ 1 / 0 }}",
        "{{ messages | no_such_filter }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{{ 'a' * 10**10 }}",
        "{{ 9 ** (10 ** 10) }}",
        "{{ '%01000000000d' % 1 }}",
        "{% for i in range(10**9) %}a{% endfor %}",
        "{% set ns = namespace(__x=1) %}",
        "{{ lipsum.__globals__.os }}",
    ],
)
def test_harmful_or_broken_template_is_refused_and_not_obeyed(template: str):
    with pytest.raises(DataError):
        ChatTemplate(template).render(turns("a", "b"))


def test_missing_template_hints_at_chatml(tmp_path: Path):
    tokenizer = Tokenizer.open(tokenizer_folder(tmp_path, None))
    with pytest.raises(DataError) as caught:
        tokenizer.render(turns("a", "b"))
    assert "data.chat_template: chatml" in caught.value.hint
    assert tokenizer.with_template("chatml").render(turns("a")) == "<|im_start|>user\na<|im_end|>\n"


def test_deeply_nested_message_is_refused():
    nested: Any = []
    for _ in range(100_000):
        nested = [nested]
    with pytest.raises(DataError, match="nested"):
        ChatTemplate("{{ messages | tojson }}").render([{"role": "user", "content": nested}])
