"""Every format keeps the same promises, whoever wrote it."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from lorry import plugins
from lorry.data.bad_rows import BadRowError
from lorry.data.detect import examples_of_formats, known_formats
from lorry.data.formats._base import Format
from lorry.data.rows import Origin
from lorry.data.turns import ROLES

HERE = Origin("rows.jsonl", 7)
NAMES = plugins.names("formats")
HOSTILE: list[Any] = [
    None,
    3,
    True,
    "",
    " \n",
    [],
    {},
    [None],
    [[]],
    [{}],
    {"a": 1},
    "[",
    "[]",
    b"bytes",
    [{"role": 1}],
    1e99,
]
OTHERS = [
    [{"role": "user", "content": {"x": 1}}],
    [{"from": "gpt", "value": None}],
    [{"role": "assistant", "content": [1]}],
]


_MAY_LACK = {"prompt": ("answer",)}
"""Fields of an example that a row need not have: what is right is a matter of the recipe's rewards."""


def make(name: str) -> Format:
    return plugins.make("formats", name)  # type: ignore[return-value]


def example(name: str) -> dict[str, Any]:
    """The row that the format's own file shows; `completion` shows one for the field `content`."""
    about = next(entry["about"] for entry in examples_of_formats() if entry["name"] == name)
    row = json.loads(re.search(r"^\s*(\{\".*\})$", about, re.MULTILINE)[1])  # type: ignore[index]
    return {"text": row["content"]} if name == "completion" else row


@pytest.mark.parametrize("name", NAMES)
def test_format_explains_itself(name: str):
    entry = next(entry for entry in examples_of_formats() if entry["name"] == name)
    assert entry["summary"].endswith(".")
    assert example(name)


@pytest.mark.parametrize("name", NAMES)
def test_format_reads_the_example_that_it_shows(name: str):
    layout, raw = make(name), example(name)
    assert layout.matches(raw)
    row = layout.read(raw, HERE)
    assert row.origin is HERE
    if layout.gives != "text":
        assert row.text is None
        assert (row.rejected is not None) == (layout.gives == "preference")
        assert (row.label is not None) == (layout.gives == "labelled")
        assert row.messages
        assert (row.messages[-1]["role"] == "assistant") == (layout.gives != "prompt"), (
            "the model answers prompts itself"
        )
        assert layout.gives != "prompt" or row.asked == len(row.messages)
        assert all(turn["role"] in ROLES and isinstance(turn["content"], str) for turn in row.messages)
    else:
        assert row.messages is None
        assert row.text


@pytest.mark.parametrize("name", NAMES)
def test_format_leaves_the_raw_row_as_it_was(name: str):
    raw = example(name)
    before = json.dumps(raw)
    make(name).read(raw, HERE)
    assert json.dumps(raw) == before


@pytest.mark.parametrize("name", NAMES)
def test_format_does_not_match_a_row_without_its_fields(name: str):
    assert not make(name).matches({})
    assert not make(name).matches({"id": 1, "label": "x"})


@pytest.mark.parametrize("name", NAMES)
def test_no_value_in_any_field_makes_a_format_crash(name: str):
    layout, raw = make(name), example(name)
    for field in [*raw, "tools", "system", "input", "history", "images"]:
        for value in [*HOSTILE, *OTHERS]:
            _refuses_clearly_or_reads(layout, {**raw, field: value})


@pytest.mark.parametrize("name", NAMES)
def test_row_without_one_of_its_fields_is_refused_with_the_field(name: str):
    layout, raw = make(name), example(name)
    for field in [field for field in raw if field not in ("tools", "input", *_MAY_LACK.get(name, ()))]:
        with pytest.raises(BadRowError) as caught:
            layout.read({key: value for key, value in raw.items() if key != field}, HERE)
        assert caught.value.field
        assert caught.value.hint


def test_ranks_are_all_different():
    ranks = [kind.rank for kind in known_formats()]
    assert len(set(ranks)) == len(ranks)


def _refuses_clearly_or_reads(layout: Format, raw: dict[str, Any]) -> None:
    try:
        row = layout.read(raw, HERE)
    except BadRowError as error:
        message, hint = error.message, error.hint
    else:
        message = hint = "read"
        assert row.messages or row.text
    assert message
    assert hint
