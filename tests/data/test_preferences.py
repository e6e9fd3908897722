"""Rows of preferences, as they come from people: read, refused with the reason, and rendered as pairs."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any, cast

import pytest

from chat_tokenizers import chat_folder
from lorry.data.bad_rows import BadRowError
from lorry.data.detect import Layout
from lorry.data.examples import Example, Kind
from lorry.data.render import Renderer
from lorry.data.rows import Origin, Row
from lorry.data.staging import _task
from lorry.data.tokenizer import Tokenizer
from lorry.plugins import make
from lorry.trainer.methods._base import Method

HERE = Origin("rows.jsonl", 3)
ASKED = {"role": "user", "content": "2 + 2?"}
FOUR, FIVE = ({"role": "assistant", "content": text} for text in ("4", "5"))


def read(raw: dict[str, Any], *kinds: str) -> Row:
    return Layout({"name": "auto"}, frozenset(kinds or ("preference", "labelled")), "dpo").read(raw, HERE)


@pytest.mark.parametrize(
    "raw",
    [
        {"prompt": "2 + 2?", "chosen": "4", "rejected": "5"},
        {"prompt": [ASKED], "chosen": [FOUR], "rejected": [FIVE]},
        {"prompt": [ASKED], "chosen": FOUR, "rejected": FIVE},
        {"prompt": "2 + 2?", "chosen": [ASKED, FOUR], "rejected": [ASKED, FIVE]},
        {"prompt": json.dumps([ASKED]), "chosen": json.dumps([FOUR]), "rejected": json.dumps([FIVE])},
        {"prompt": None, "chosen": [ASKED, FOUR], "rejected": [ASKED, FIVE]},
        {"chosen": [ASKED, FOUR], "rejected": [ASKED, FIVE]},
        {"chosen": json.dumps([ASKED, FOUR]), "rejected": json.dumps([ASKED, FIVE])},
        {"conversations": [{"from": "human", "value": "2 + 2?"}], "chosen": "4", "rejected": "5"},
        {
            "conversations": [{"from": "human", "value": "2 + 2?"}],
            "chosen": {"from": "gpt", "value": "4"},
            "rejected": [{"from": "gpt", "value": "5"}],
        },
        {"instruction": "2 + 2?", "chosen": "4", "rejected": "5"},
        {"instruction": "2 + 2?", "output": ["4", "5"]},
    ],
)
def test_every_way_to_write_a_pair_is_the_same_pair(raw):
    row = read(raw)
    assert (row.messages, row.rejected, row.asked) == ([ASKED, FOUR], [ASKED, FIVE], 1)


@pytest.mark.parametrize(
    ("raw", "field", "told"),
    [
        ({"prompt": "2 + 2?", "chosen": "4", "rejected": "4"}, "rejected", "the same"),
        ({"chosen": [ASKED, FOUR], "rejected": [ASKED, FOUR]}, "rejected", "the same"),
        ({"chosen": [ASKED, FOUR], "rejected": [FIVE]}, "chosen", "no prompt in common"),
        ({"chosen": "4", "rejected": "5"}, "chosen", "no `prompt`"),
        ({"chosen": [ASKED], "rejected": [ASKED, FIVE]}, "chosen", "no answer"),
        ({"prompt": "3 + 3?", "chosen": [ASKED, FOUR], "rejected": [FIVE]}, "chosen", "begins with a user turn"),
        (
            {"prompt": "2 + 2?", "chosen": {**FOUR, "score": 1}, "rejected": {**FOUR, "score": 0}},
            "rejected",
            "the same",
        ),
        ({"prompt": "2 + 2?", "chosen": " ", "rejected": "5"}, "chosen", "empty"),
        ({"prompt": "", "chosen": "4", "rejected": "5"}, "prompt", "empty"),
        ({"prompt": "2 + 2?", "completion": "4", "label": "perhaps"}, "label", "perhaps"),
        ({"prompt": "2 + 2?", "completion": "4", "label": None}, "label", "missing"),
    ],
)
def test_pair_that_teaches_nothing_is_refused_with_its_field(raw, field, told):
    with pytest.raises(BadRowError) as caught:
        read(raw)
    assert caught.value.field == field
    assert told in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("label", "meant"), [(True, True), (0, False), ("false", False), (" GOOD ", True), (1, True), (0.0, False)]
)
def test_labels_are_read_as_people_write_them(label, meant):
    row = read({"messages": [ASKED, FOUR], "label": label})
    assert (row.label, row.asked) == (meant, 1)


TALK = [{"from": "human", "value": "2 + 2?"}, {"from": "gpt", "value": "4"}]


@pytest.mark.parametrize(
    "raw",
    [
        {"messages": [ASKED, FOUR]},
        {"prompt": "2 + 2?", "completion": "4"},
        {"instruction": "2 + 2?", "output": "4"},
        {"conversations": TALK},
    ],
)
def test_every_form_may_have_a_label_and_a_bad_answer_is_taught_to_nobody(raw):
    row = read({**raw, "kto_tag": True})
    assert (row.messages, row.label, row.asked) == ([ASKED, FOUR], True, 1)
    with pytest.raises(BadRowError, match="marked as a bad answer"):
        read({**raw, "kto_tag": "false"}, "messages")
    assert read({**raw, "label": 0}, "messages").label is None, "it may be the first of several classes"


@pytest.mark.parametrize(
    ("kind", "raw", "told"),
    [
        ("messages", {"prompt": "a", "chosen": "b", "rejected": "c"}, "preference pair"),
        ("messages", {"messages": [ASKED, FOUR], "label": False}, ""),
        ("text", {"prompt": "a", "completion": "b", "label": True}, "answer with a label"),
        ("preference", {"messages": [ASKED, FOUR]}, "a conversation"),
        ("preference", {"text": "a"}, "raw text"),
        ("labelled", {"prompt": "a", "chosen": "b", "rejected": "c"}, "preference pair"),
    ],
)
def test_row_of_another_method_says_what_it_is_what_learns_from_it_and_shows_a_row(kind, raw, told):
    with pytest.raises(BadRowError) as caught:
        read(raw, kind)
    assert told in caught.value.message
    if told:
        assert "use `method: " in caught.value.hint
        assert "rows for `dpo` look like {" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("qa_feedback_pairs.jsonl", {"pair": 825}),
        ("raw/dpo_en_demo.json", {"pair": 255}),
        ("raw/kto_en_demo.json", {"True": 128, "False": 126}),
        ("raw/instruction_with_preference.json", {"pair": 934, "chosen and rejected are the same": 3}),
    ],
)
def test_real_preferences_are_read(shared_data, name, expected):
    text = (shared_data / "preference" / name).read_text(encoding="utf-8")
    rows = json.loads(text) if name.endswith(".json") else [json.loads(line) for line in text.splitlines()]
    assert Counter(kind_of(raw) for raw in rows) == expected


def kind_of(raw: dict[str, Any]) -> str:
    try:
        row = read(raw)
    except BadRowError as error:
        return error.message
    return "pair" if row.rejected else str(row.label)


@pytest.fixture
def renderer(tmp_path: Path) -> Renderer:
    return Renderer(Tokenizer.open(chat_folder(tmp_path / "model", "chatml")), 256)


def method(name: str, **settings: Any) -> Method:
    return cast("Method", make("methods", {"name": name, **settings}))


def answer(example: Example, renderer: Renderer) -> str:
    mask = example.trained if example.context is None else example.trained & ~example.context
    return renderer.tokenizer.decode(example.ids[mask].tolist())


def test_only_what_follows_the_prompt_is_trained_on(renderer):
    earlier = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}, ASKED]
    row = Row(HERE, messages=[*earlier, FOUR], rejected=[*earlier, FIVE], asked=3)
    chosen, rejected = method("dpo").examples(row, renderer)
    assert (chosen.kind, rejected.kind) == (Kind.CHOSEN, Kind.REJECTED)
    assert (answer(chosen, renderer).strip(), answer(rejected, renderer).strip()) == ("4", "5")


def test_pairs_that_differ_in_what_was_rejected_are_different_rows(renderer):
    rows = [
        Row(HERE, messages=[ASKED, FOUR], rejected=[ASKED, one], asked=1) for one in (FIVE, {**FIVE, "content": "6"})
    ]
    assert len({json.dumps(_task(row)) for row in rows}) == 2
    assert "apart" not in _task(Row(HERE, messages=[ASKED, FOUR]))


def test_orpo_learns_the_chosen_prompt_as_well_unless_told_otherwise(renderer):
    row = Row(HERE, messages=[ASKED, FOUR], rejected=[ASKED, FIVE], asked=1)
    chosen, rejected = method("orpo").examples(row, renderer)
    assert chosen.trained.sum() == len(chosen.ids) - 1
    assert answer(chosen, renderer).strip() == "4"
    assert rejected.context is None
    alone, _ = method("orpo", learn="answer").examples(row, renderer)
    assert alone.context is None
    assert answer(alone, renderer).strip() == "4"


def test_kto_holds_each_prompt_against_the_answer_of_the_row_before(renderer):
    rows = [
        Row(
            HERE,
            messages=[{"role": "user", "content": f"{at}?"}, {"role": "assistant", "content": f"{at}!"}],
            label=at > 1,
            asked=1,
        )
        for at in range(3)
    ]
    found = cast("list[list[Example]]", list(method("kto").examples_of(rows, renderer)))
    assert [[one.kind for one in both] for both in found] == [
        [Kind.BAD, Kind.STRANGE],
        [Kind.BAD, Kind.STRANGE],
        [Kind.GOOD, Kind.STRANGE],
    ]
    assert [answer(both[1], renderer).strip() for both in found] == ["2!", "0!", "1!"]


def test_kto_takes_no_answer_to_the_same_prompt_for_a_strange_one(renderer):
    turns = [[{**ASKED, "content": f"{at // 2}?"}, {**FOUR, "content": f"{at}!"}] for at in range(4)]
    rows = [Row(HERE, messages=both, label=True, asked=1) for both in turns]
    found = cast("list[list[Example]]", list(method("kto").examples_of(rows, renderer)))
    assert [answer(both[1], renderer).strip() for both in found] == ["3!", "3!", "1!", "1!"]
    alone = cast("list[list[Example]]", list(method("kto").examples_of(rows[:2], renderer)))
    assert [len(both) for both in alone] == [1, 1], "there is no other prompt"


def test_pair_that_is_the_same_once_cut_teaches_nothing(renderer):
    long = "x " * 400
    both = [{**FOUR, "content": long + end} for end in ("a", "b")]
    row = Row(HERE, messages=[ASKED, both[0]], rejected=[ASKED, both[1]], asked=1)
    assert list(method("dpo").examples_of([row], renderer)) == [[]]


def test_reward_model_learns_from_the_same_pairs_as_dpo(renderer):
    row = Row(HERE, messages=[ASKED, FOUR], rejected=[ASKED, FIVE], asked=1)
    both = [method(name).examples(row, renderer) for name in ("reward", "dpo")]
    assert [[one.ids.tolist() for one in pair] for pair in both[:1]] == [[one.ids.tolist() for one in both[1]]]
    assert [one.kind for one in both[0]] == [Kind.CHOSEN, Kind.REJECTED]


@pytest.mark.parametrize(
    ("raw", "told"),
    [({"messages": [ASKED, FOUR]}, "a conversation"), ({"prompt": "a", "completion": "b", "label": True}, "label")],
)
def test_row_that_is_no_pair_says_so_to_a_reward_model(raw, told):
    layout = Layout({"name": "auto"}, make("methods", "reward").accepts, "reward")  # type: ignore[attr-defined]
    with pytest.raises(BadRowError) as caught:
        layout.read(raw, HERE)
    assert told in caught.value.message
    assert "rows for `reward` look like {" in caught.value.hint


def test_prompts_of_kto_are_those_of_its_rows(renderer):
    turns = [[{**ASKED, "content": f"{at}?"}, {**FOUR, "content": f"{at}!"}] for at in range(3)]
    rows = [Row(HERE, messages=both, label=at > 1, asked=1) for at, both in enumerate(turns)]
    found = cast("list[list[Example]]", list(method("kto").examples_of(rows, renderer)))
    assert all("1?" in renderer.tokenizer.decode(one.ids.tolist()) for one in found[1])
