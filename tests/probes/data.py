"""Probes of `data` and `method`: what rows become, seen in what is prepared from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lorry.data.prepare import Prepared, prepare, renderer_for
from lorry.data.tokenizer import Tokenizer
from lorry.errors import LorryError
from probes.probe import Probe, Values, understood
from probes.train import ONE_STEP, steps


def prepared(values: Values) -> Prepared:
    return prepare(understood(values), Path.cwd(), Tokenizer.open(Path("model")))


def seen(values: Values) -> Any:
    """Sizes of the first row's images and their tokens, and how many rows were skipped; or the exit code of a refusal."""
    try:
        found = prepare(understood(values), Path.cwd(), Tokenizer.open(Path("seeing")))
    except LorryError as error:
        return f"exit {error.exit_code}"
    return [(one.picture.width, one.grid) for one in found.train[0].images], found.facts.bad_images


def counts(values: Values) -> dict[str, int]:
    """Rows of each split."""
    facts = prepared(values).facts
    return {name: split.rows for name in ("train", "eval", "test") if (split := facts.split(name))}


def held_back(values: Values) -> list[str]:
    return [task.origin for task in prepared(values).tasks("eval")]


def trained_text(values: Values) -> str:
    """The tokens of the first training row that count in the loss."""
    example = prepared(values).train[0]
    return Tokenizer.open(Path("model")).decode(example.ids[example.trained].tolist(), skip_special_tokens=False)


def begins(values: Values) -> tuple[str, str]:
    """How the first row begins in training, and its prompt in generation."""
    tokenizer, ready = Tokenizer.open(Path("model")), prepared(values)
    prompt = renderer_for(understood(values), Path.cwd(), tokenizer).prompt(ready.tasks("train")[0].messages)
    row, asked = (tokenizer.decode(list(ids), skip_special_tokens=False) for ids in (ready.train[0].ids, prompt))
    return row.partition("\n")[0], asked.partition("\n")[0]


def longest(values: Values) -> int:
    return int(prepared(values).train.lengths.max())


def bad_rows(values: Values) -> Any:
    """How many rows were skipped, or the exit code of a refusal."""
    try:
        return prepared(values).facts.bad_rows
    except LorryError as error:
        return f"exit {error.exit_code}"


def rows_in_first_step(values: Values) -> bool:
    """Whether the first step trains on more than the one row of about 60 tokens that fits unpacked."""
    return steps(values)[0]["computed_tokens"] > 100


_PLAIN, _SHOUTED = ("<|im_start|>system",) * 2, ("<|im_start|>SYSTEM",) * 2
_QUIET = ("<no-thinking><|im_start|>system",) * 2
_NUMBER = "A number.<|im_end|>"
_SPLIT = {"train": 20, "eval": 4}
_THINKING = {"data.chat_template": "thinking.jinja"}
_TWO_WAYS = {"data.train": "both.jsonl", "data.eval_split": 0}
_SOME_LONG = {"data.train": "long.jsonl", "data.eval_split": 0}
_ALIKE = {"data.train": "alike.jsonl", "data.eval_split": 0}
_SEEING = {"data.train": "images.jsonl", "data.eval_split": 0}
_TORN = {"data.train": "torn.jsonl"}
_UNPACKED = {"train.micro_batch": 1, "train.share_prefixes": False, **ONE_STEP}

PROBES = [
    Probe("data.train", ("rows.jsonl", ["rows.jsonl", "more.jsonl"]), counts, (_SPLIT, {"train": 26, "eval": 4})),
    Probe("data.eval", (None, "more.jsonl"), counts, (_SPLIT, {"train": 24, "eval": 6})),
    Probe("data.test", (None, "more.jsonl"), counts, (_SPLIT, {"train": 20, "eval": 4, "test": 6})),
    Probe("data.eval_split", (0, 0.5), counts, ({"train": 24}, {"train": 12, "eval": 12})),
    Probe("data.split_seed", (0, 1), held_back),
    Probe("data.train_subset", (-1, 5), counts, (_SPLIT, {"train": 5, "eval": 4})),
    Probe("data.eval_subset", (None, 2), counts, (_SPLIT, {"train": 20, "eval": 2})),
    Probe("data.format", ("messages", "prompt_completion"), trained_text, ("red<|im_end|>", _NUMBER), _TWO_WAYS),
    Probe("data.chat_template", (None, "shout.jinja"), begins, (_PLAIN, _SHOUTED)),
    Probe("data.template_args", ({}, {"enable_thinking": False}), begins, (_PLAIN, _QUIET), _THINKING),
    Probe("data.max_length", (128, 60), longest, given={"data.eval_split": 0}),
    Probe("data.packing", (False, True), rows_in_first_step, (False, True), _UNPACKED),
    Probe("data.on_long_row", ("cut", "skip"), counts, ({"train": 8}, {"train": 6}), _SOME_LONG),
    Probe("data.drop_near_duplicates", (None, 0.8), counts, ({"train": 4}, {"train": 3}), _ALIKE),
    Probe("data.on_bad_row", ("fail", "skip"), bad_rows, ("exit 2", 1), {"data.train": "broken.jsonl"}),
    Probe("data.on_bad_image", ("fail", "skip"), seen, ("exit 2", ([(256, (8, 8))], 1)), _SEEING | _TORN),
    Probe("data.image_folder", (None, "elsewhere"), seen, (([(256, (8, 8))], 0), ([(64, (2, 2))], 0)), _SEEING),
    Probe("data.max_pixels", (None, 16384), seen, (([(256, (8, 8))], 0), ([(256, (4, 4))], 0)), _SEEING),
    Probe("method", ("sft", "cpt"), trained_text, ("red<|im_end|>", "aw text.<|im_end|>"), _TWO_WAYS),
]
