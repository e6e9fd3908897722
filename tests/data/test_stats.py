from __future__ import annotations

from pathlib import Path

import numpy as np

from chat_tokenizers import chat_folder, turns
from lorry.data.examples import Example, ExampleSet, write_examples
from lorry.data.facts import split_facts
from lorry.data.marks import stretches
from lorry.data.render import Renderer
from lorry.data.rows import Origin, Row
from lorry.data.stats import bars, described, histogram, lines
from lorry.data.tokenizer import Tokenizer


def stored(folder: Path, lengths: list[int]) -> ExampleSet:
    examples = [Example(np.arange(size, dtype=np.int32), np.arange(size) % 2 == 1) for size in lengths]
    return write_examples(folder, ((example, Origin("a", index)) for index, example in enumerate(examples)))


def test_histogram_counts_every_row_once_from_shortest_to_longest(tmp_path: Path):
    sizes = [3, 3, 10, 40, 100]
    bins = histogram(stored(tmp_path, sizes))
    assert (bins[0][0], bins[-1][1], sum(count for _, _, count in bins)) == (3, 100, 5)
    for low, high, count in bins:
        assert count == sum(low <= size <= high for size in sizes)


def test_rows_of_one_length_are_one_bar(tmp_path: Path):
    assert histogram(stored(tmp_path, [5, 5, 5])) == [(5, 5, 3)]


def test_empty_set_has_no_histogram(tmp_path: Path):
    assert histogram(stored(tmp_path, [])) == []
    assert bars([]) == []


def test_statistics_name_lengths_cuts_and_trained_share(tmp_path: Path):
    examples = stored(tmp_path, [4, 4, 8])
    facts = split_facts(examples, 3, 1, "messages")
    found = described(facts, examples)
    assert (found["tokens"], found["trained_tokens"], found["trained_share"], found["cut_rows"]) == (16, 8, 0.5, 1)
    text = "\n".join(lines("train", facts, examples))
    assert "3 rows, 16 tokens, 50% of them trained on" in text
    assert "longest 8" in text


def test_copied_examples_are_the_chosen_ones(tmp_path: Path):
    examples = stored(tmp_path / "all", [2, 5, 1, 7])
    copied = examples.copy(np.array([False, True, False, True]), tmp_path / "some")
    assert copied.lengths.tolist() == [5, 7]
    assert copied[1].ids.tolist() == list(range(7))
    assert copied[1].trained.tolist() == examples[3].trained.tolist()
    assert copied.origin(1) == Origin("a", 3)
    assert copied.trained_tokens == 2 + 3


def test_stretches_join_to_the_whole_text(tmp_path: Path):
    for family in ("chatml", "gemma", "mistral"):
        tokenizer = Tokenizer.open(chat_folder(tmp_path / family, family))
        example = Renderer(tokenizer, 512).chat(
            Row(Origin("a", 1), messages=turns("find é", "the 🎉 fox", "more", "two"))
        )
        parts = stretches(example, tokenizer)
        assert "".join(text for text, _ in parts) == tokenizer.decode(example.ids.tolist(), skip_special_tokens=False)
        assert [marked for _, marked in parts][:4] == [False, True, False, True]
        assert "the 🎉 fox" in parts[1][0]
