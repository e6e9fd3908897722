from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chat_tokenizers import FAMILIES, QWEN3, chat_folder, tokenizer_folder, turns
from lorry.data.documents import document_ids, parts_of
from lorry.data.examples import Example
from lorry.data.render import Renderer
from lorry.data.rows import Origin, Row
from lorry.data.tokenizer import Tokenizer
from lorry.errors import DataError

HERE = Origin("rows.jsonl", 1)
END = {
    "chatml": "<|im_end|>",
    "llama3": "<|eot_id|>",
    "qwen3": "<|im_end|>",
    "mistral": "</s>",
    "gemma": "<end_of_turn>",
    "plain": "<|endoftext|>",
}


def renderer(folder: Path, family: str = "chatml", max_length: int = 4096, **template_args: Any) -> Renderer:
    return Renderer(Tokenizer.open(chat_folder(folder, family)), max_length, template_args)


def row(*contents: str, **fields: Any) -> Row:
    return Row(HERE, messages=turns(*contents), **fields)


def trained(renders: Renderer, example: Example) -> str:
    """The trained tokens as text, `|` where untrained ones lie between."""
    pieces: list[str] = []
    for index, mark in enumerate(example.trained):
        if mark and (not index or not example.trained[index - 1]):
            pieces.append("")
        if mark:
            pieces[-1] += renders.tokenizer.decode([int(example.ids[index])], skip_special_tokens=False)
    return "|".join(pieces)


@pytest.mark.parametrize("family", FAMILIES)
def test_last_answer_and_its_end_are_trained(tmp_path: Path, family: str):
    renders = renderer(tmp_path, family)
    example = renders.chat(row("find files", "the fox"))
    text = trained(renders, example).replace(" ", "").removeprefix("<think></think>".replace(" ", "")).replace("\n", "")
    assert text.replace("<think></think>", "") == "thefox" + END[family]


@pytest.mark.parametrize("family", ["chatml", "llama3", "mistral", "gemma"])
def test_every_answer_of_a_stable_template_is_trained(tmp_path: Path, family: str):
    renders = renderer(tmp_path, family)
    text = trained(renders, renders.chat(row("find", "one", "again", "two"))).replace(" ", "")
    assert text == f"one{END[family]}|two{END[family]}"
    assert renders.tally.changing == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_prompt_is_what_stands_before_the_answer_in_training(tmp_path: Path, family: str):
    renders = renderer(tmp_path, family)
    messages = turns("find files", "one", "again", "the fox")
    example = renders.chat(Row(HERE, messages=messages))
    prompt = renders.prompt(messages)
    assert prompt == renders.prompt(messages[:-1])
    assert example.ids[: len(prompt)].tolist() == prompt
    assert example.trained[len(prompt) :][0]


@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_are_those_of_transformers_but_for_an_added_end(tmp_path: Path, family: str):
    from transformers import AutoTokenizer

    renders = renderer(tmp_path, family)
    example = renders.chat(row("find  files", "é 🎉\nthe fox"))
    theirs = AutoTokenizer.from_pretrained(str(tmp_path))
    ids = theirs.apply_chat_template(row("find  files", "é 🎉\nthe fox").messages, return_dict=False)
    own = example.ids.tolist()
    assert own == ids if family != "plain" else own[:-1] == ids[: len(own) - 1]


def test_template_without_end_token_gets_one_in_place_of_the_newline(tmp_path: Path):
    renders = renderer(tmp_path, "plain")
    example = renders.chat(row("find", "one", "again", "two"))
    assert renders.tokenizer.decode(example.ids, False).endswith("ASSISTANT: two<|endoftext|>")
    # The first answer begins inside the token " o", which the prompt shares.
    assert trained(renders, example) == "ne|two<|endoftext|>"
    assert renders.tally.without_end == 1


def test_newline_behind_the_end_token_is_not_trained(tmp_path: Path):
    example = renderer(tmp_path).chat(row("find", "the fox"))
    assert not example.trained[-1]
    assert example.trained[-2]


def test_blank_end_of_an_answer_is_trained(tmp_path: Path):
    renders = renderer(tmp_path)
    assert trained(renders, renders.chat(row("find", "the fox \n\n"))) == "the fox \n\n<|im_end|>"


def test_template_that_drops_earlier_reasoning_is_noticed_and_trains_the_last_turn(tmp_path: Path):
    renders = renderer(tmp_path, "qwen3")
    example = renders.chat(row("find", "<think>\nhm\n</think>\n\none", "again", "<think>\nso\n</think>\n\ntwo"))
    assert trained(renders, example) == "<think>\nso\n</think>\n\ntwo<|im_end|>"
    assert renders.tally.changing == 1


def test_thinking_switched_off_leaves_the_empty_block_to_the_prompt(tmp_path: Path):
    renders = renderer(tmp_path, "qwen3", enable_thinking=False)
    example = renders.chat(row("find", "the fox"))
    assert trained(renders, example) == "the fox<|im_end|>"
    assert renders.tokenizer.decode(renders.prompt(turns("find")), False).endswith("<think>\n\n</think>\n\n")


def test_generation_prompt_that_no_answer_begins_with_is_noticed(tmp_path: Path):
    template = QWEN3.replace(
        "{{- '<|im_start|>assistant\\n' }}", "{{- '<|im_start|>assistant\\n<think>\\n' }}"
    ).replace("(loop.last or", "(false and loop.last or")
    renders = Renderer(Tokenizer.open(tokenizer_folder(tmp_path, template)), 512)
    example = renders.chat(row("find", "the fox"))
    assert trained(renders, example) == "the fox<|im_end|>"
    assert renders.tally.prompt_differs == 1


def test_answer_before_any_question_is_trained_only_where_the_template_can_show_it(tmp_path: Path):
    messages = [{"role": "assistant", "content": "hello"}, *turns("find", "the fox")]
    renders = renderer(tmp_path)
    assert trained(renders, renders.chat(Row(HERE, messages=messages))) == "the fox<|im_end|>"
    assert renders.tally.changing == 1


def test_all_trains_every_token_but_the_first(tmp_path: Path):
    example = renderer(tmp_path).chat(row("find", "the fox"), train_on="all")
    assert not example.trained[0]
    assert example.trained[1:].all()


def test_long_row_keeps_its_beginning(tmp_path: Path):
    whole = renderer(tmp_path).chat(row("find", "the fox " * 20))
    short = renderer(tmp_path, max_length=40).chat(row("find", "the fox " * 20))
    assert short.ids.tolist() == whole.ids[:40].tolist()
    assert (short.cut, whole.cut) == (True, False)


def test_first_token_written_twice_is_kept_once(tmp_path: Path):
    renders = renderer(tmp_path, "mistral")
    doubled = Renderer(renders.tokenizer.with_template("{{ bos_token }}" + renders.tokenizer.template().text), 512)
    once, twice = renders.chat(row("find", "fox")), doubled.chat(row("find", "fox"))
    assert once.ids.tolist() == twice.ids.tolist()
    assert once.trained.tolist() == twice.trained.tolist()
    assert doubled.prompt(turns("find")) == renders.prompt(turns("find"))


def test_tool_call_that_the_template_does_not_show_is_not_trained(tmp_path: Path):
    renders = renderer(tmp_path)
    call = {"type": "function", "function": {"name": "look_up", "arguments": {}}}
    messages = [
        {"role": "user", "content": "find"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "fox"},
        {"role": "assistant", "content": "the fox"},
    ]
    assert trained(renders, renders.chat(Row(HERE, messages=messages, tools=[call]))) == "the fox<|im_end|>"
    assert (renders.tally.calls_hidden, renders.tally.tools_hidden) == (1, 1)


def test_tool_call_that_the_template_shows_is_trained(tmp_path: Path):
    renders = renderer(tmp_path, "qwen3")
    call = {"type": "function", "function": {"name": "look_up", "arguments": {"a": 1}}}
    messages = [{"role": "user", "content": "find"}, {"role": "assistant", "content": "", "tool_calls": [call]}]
    assert '"look_up"' in trained(renders, renders.chat(Row(HERE, messages=messages)))
    assert renders.tally.calls_hidden == 0


def test_reasoning_that_the_template_does_not_show_is_counted(tmp_path: Path):
    renders = renderer(tmp_path)
    messages = turns("find", "the fox")
    messages[1]["reasoning_content"] = "because"
    renders.chat(Row(HERE, messages=messages))
    assert renders.tally.reasoning_hidden == 1


@pytest.mark.parametrize(
    ("family", "answer"), [("plain", "the fox"), ("llama3", "\nthe fox"), ("chatml", "\n\n the fox")]
)
def test_answer_that_would_merge_with_the_prompt_is_tokenised_apart(tmp_path: Path, family: str, answer: str):
    renders = renderer(tmp_path, family)
    example = renders.chat(row("find", answer))
    assert renders.tally.merging == (family != "llama3")
    assert trained(renders, example).endswith("the fox" + END[family])
    assert renders.tokenizer.decode(example.ids.tolist(), False).count("the fox") == 1


def test_refused_conversation_stands_among_the_others_as_its_error(tmp_path: Path):
    good, bad = row("find", "fox"), Row(HERE, messages=turns("find", "fox", system="be brief"))
    results = renderer(tmp_path, "gemma").chats([good, bad, good])
    assert [type(result) for result in results] == [Example, DataError, Example]
    assert results[0].ids.tolist() == results[2].ids.tolist()


def test_many_rows_at_once_are_what_each_is_alone(tmp_path: Path, shared_data: Path):
    renders = renderer(tmp_path, "qwen3", max_length=200)
    lines = (shared_data / "sft/sft_chat.jsonl").read_text(encoding="utf-8").splitlines()[:60]
    rows = [Row(HERE, messages=json.loads(line)["messages"]) for line in lines]
    for one, many in zip([renders.chat(each) for each in rows], renders.chats(rows), strict=True):
        assert one.ids.tolist() == many.ids.tolist()
        assert one.trained.tolist() == many.trained.tolist()


def test_half_a_surrogate_pair_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match="surrogate"):
        renderer(tmp_path).chat(row("find", "\ud83d"))


@pytest.mark.parametrize("size", [8, 20, 100, 5000])
def test_every_token_of_a_document_is_trained_once(tmp_path: Path, size: int):
    renders = renderer(tmp_path, max_length=size)
    text = "the quick brown fox jumps " * 30
    pieces = list(renders.pieces(text))
    tokens = [token for piece in pieces for token, mark in zip(piece.ids.tolist(), piece.trained, strict=True) if mark]
    whole = [*renders.tokenizer.encode(text), renders.tokenizer.eos_id]
    assert tokens == whole[1:]
    assert all(len(piece.ids) <= size and not piece.trained[0] for piece in pieces)


@pytest.mark.parametrize(("adds", "written"), [(True, False), (True, True), (False, False)])
def test_document_has_at_most_one_first_token(tmp_path: Path, adds: bool, written: bool):
    folder = tokenizer_folder(tmp_path, None, bos="<s>", eos="</s>", add_bos_token=adds)
    (piece,) = Renderer(Tokenizer.open(folder), 64).pieces("<s>the fox" if written else "the fox")
    tokens = piece.ids.tolist()
    first = Tokenizer.open(folder).bos_id
    assert tokens.count(first) == int(adds)
    assert tokens[-1] == Tokenizer.open(folder).eos_id


def test_document_that_brings_its_end_token_has_one(tmp_path: Path):
    renders = Renderer(Tokenizer.open(tokenizer_folder(tmp_path, None, eos="</s>")), 64)
    (piece,) = renders.pieces("the fox</s>")
    assert piece.ids.tolist().count(renders.tokenizer.eos_id) == 1


def test_long_document_in_parts_has_the_tokens_of_the_whole(tmp_path: Path, shared_data: Path):
    tokenizer = Tokenizer.open(chat_folder(tmp_path, "chatml"))
    text = (shared_data / "cpt/raw/geology_norton.txt").read_text(encoding="utf-8")[:120_000]
    assert len(parts_of(tokenizer, text, 5_000)) > 15
    (parts,), (whole,) = document_ids(tokenizer, [text], 5_000), document_ids(tokenizer, [text], 10**9)
    assert parts.tolist() == whole.tolist()


def test_text_that_cannot_be_cut_safely_stays_whole(tmp_path: Path):
    tokenizer = Tokenizer.open(chat_folder(tmp_path, "gemma"))
    assert len(parts_of(tokenizer, "the fox\n" * 100, 50)) == 1


def test_special_token_written_in_a_turn_is_counted_with_its_place(tmp_path: Path):
    renders = renderer(tmp_path)
    for contents in (("find", "fine"), ("find", "fine <|im_end|> more"), ("<|im_start|>assistant", "no")):
        renders.chat(row(*contents))
    assert (renders.tally.forging, renders.tally.first_token) == (2, "<|im_end|>")
    assert renders.tally.first == {"forging": "rows.jsonl:1"}
