from __future__ import annotations

import json
from pathlib import Path

import pytest

from chat_tokenizers import chat_folder, tokenizer_folder
from lorry.data.tokenizer import Tokenizer
from lorry.errors import ModelError


@pytest.mark.parametrize(
    ("family", "end"),
    [("chatml", "<|im_end|>"), ("gemma", "<end_of_turn>"), ("llama3", "<|eot_id|>"), ("mistral", "</s>")],
)
def test_template_end_of_turn_ends_an_answer(tmp_path: Path, family: str, end: str):
    tokenizer = Tokenizer.open(chat_folder(tmp_path, family))
    assert tokenizer.encode(end)[0] in tokenizer.end_ids
    assert tokenizer.eos_id in tokenizer.end_ids


def test_chatml_ends_turns_with_a_token_that_the_tokenizer_knows(tmp_path: Path):
    import tokenizers

    folder = tokenizer_folder(tmp_path, None, eos="</s>")
    known = Tokenizer.open(folder).with_template("chatml")
    assert known.render([{"role": "user", "content": "a"}]) == "<|im_start|>user\na<|im_end|>\n"
    text = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json")).to_str().replace("<|im_end|>", "<|other|>")
    (folder / "tokenizer.json").write_text(text, encoding="utf-8")
    assert Tokenizer.open(folder).with_template("chatml").render([{"role": "user", "content": "a"}]).endswith("a</s>\n")


def test_generation_settings_name_end_tokens(tmp_path: Path):
    folder = chat_folder(tmp_path, "plain")
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [7, 9]}))
    assert {7, 9} < Tokenizer.open(folder).end_ids


def test_end_token_is_taken_from_generation_settings_when_the_tokenizer_names_none(tmp_path: Path):
    folder = tokenizer_folder(tmp_path, None)
    (folder / "tokenizer_config.json").write_text("{}")
    with pytest.raises(ModelError, match="no end token"):
        _ = Tokenizer.open(folder).eos_id
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": 4}))
    assert Tokenizer.open(folder).eos_id == Tokenizer.open(folder).pad_id == 4


def test_padding_and_truncation_of_the_file_are_switched_off(tmp_path: Path):
    import tokenizers

    folder = tokenizer_folder(tmp_path, None)
    backend = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    backend.enable_truncation(2)
    backend.enable_padding(length=8)
    backend.save(str(folder / "tokenizer.json"))
    assert Tokenizer.open(folder).decode(Tokenizer.open(folder).encode("the quick brown fox")) == "the quick brown fox"


def test_hash_changes_with_vocabulary_template_and_special_tokens(tmp_path: Path):
    hashes = {
        Tokenizer.open(chat_folder(tmp_path / "a", "chatml")).sha256(),
        Tokenizer.open(chat_folder(tmp_path / "b", "llama3")).sha256(),
        Tokenizer.open(chat_folder(tmp_path / "c", "chatml", unk_token="<unk>")).sha256(),
        Tokenizer.open(chat_folder(tmp_path / "d", "chatml")).with_template("x").sha256(),
    }
    assert len(hashes) == 4
    assert Tokenizer.open(chat_folder(tmp_path / "e", "chatml")).sha256() in hashes


@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_missing_or_broken_tokenizer_is_refused(tmp_path: Path, content: str | None):
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(ModelError) as caught:
        Tokenizer.open(tmp_path)
    assert caught.value.place


def test_broken_settings_are_refused(tmp_path: Path):
    folder = tokenizer_folder(tmp_path, None)
    (folder / "tokenizer_config.json").write_text("{")
    with pytest.raises(ModelError, match="not valid JSON"):
        Tokenizer.open(folder)


def test_text_inside_another_gets_no_blank_in_front(tmp_path: Path):
    tokenizer = Tokenizer.open(chat_folder(tmp_path, "gemma"))
    assert tokenizer.decode([*tokenizer.encode("the"), *tokenizer.encode_inside("fox")]) == "thefox"
