from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chat_tokenizers import chat_folder, tokenizer_folder, turns
from lorry.data.prepare import Prepared, prepare, renderer_for
from lorry.data.tokenizer import Tokenizer
from lorry.errors import DataError, InputError
from lorry.recipe.schema import Recipe
from lorry.track.folder import cache


@pytest.fixture
def tokenizer(tmp_path: Path) -> Tokenizer:
    return Tokenizer.open(chat_folder(tmp_path / "model", "chatml"))


def chats(count: int, asked: str = "find {}", answer: str = "the fox {}") -> list[dict[str, Any]]:
    return [{"messages": turns(asked.format(index), answer.format(index))} for index in range(count)]


def write(base: Path, name: str, rows: list[Any]) -> str:
    (base / name).write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return name


def recipe(method: Any = "sft", **data: Any) -> Recipe:
    return Recipe.model_validate({"model": {"id": "m"}, "data": {"train": "train.jsonl", **data}, "method": method})


def refused(base: Path, tokenizer: Tokenizer, **data: Any) -> DataError:
    with pytest.raises(DataError) as caught:
        prepare(recipe(**data), base, tokenizer)
    assert caught.value.hint
    return caught.value


def texts(prepared: Prepared, split: str, tokenizer: Tokenizer) -> list[str]:
    examples = getattr(prepared, split)
    return [tokenizer.decode(examples[index].ids.tolist()) for index in range(len(examples))]


# --- splits


def test_share_of_rows_is_held_back_and_both_sides_keep_their_order(tmp_path: Path, tokenizer: Tokenizer):
    write(tmp_path, "train.jsonl", chats(50))
    prepared = prepare(recipe(eval_split=0.2), tmp_path, tokenizer)
    train, held = texts(prepared, "train", tokenizer), texts(prepared, "eval", tokenizer)
    assert (len(train), len(held)) == (40, 10)
    assert not set(train) & set(held)
    origins = [prepared.train.origin(index).line for index in range(40)]
    assert origins == sorted(origins)
    assert "10 of 50 rows held back" in prepared.facts.notes[0]


def test_other_seed_holds_other_rows_back(tmp_path: Path, tokenizer: Tokenizer):
    write(tmp_path, "train.jsonl", chats(50))
    sets = [set(texts(prepare(recipe(split_seed=s), tmp_path, tokenizer), "eval", tokenizer)) for s in (0, 1)]
    assert sets[0] != sets[1]


def test_rows_with_the_same_prompt_stay_on_one_side(tmp_path: Path, tokenizer: Tokenizer):
    rows = [{"messages": turns(f"find {index % 10}", f"fox {index}")} for index in range(60)]
    write(tmp_path, "train.jsonl", rows)
    prepared = prepare(recipe(eval_split=12), tmp_path, tokenizer)
    asked = [{task.messages[0]["content"] for task in prepared.tasks(split)} for split in ("train", "eval")]
    assert not asked[0] & asked[1]
    assert prepared.facts.eval is not None
    assert prepared.facts.eval.rows == 12


def test_one_row_is_trained_on_and_that_is_said(tmp_path: Path, tokenizer: Tokenizer):
    write(tmp_path, "train.jsonl", chats(1))
    prepared = prepare(recipe(), tmp_path, tokenizer)
    assert (len(prepared.train), prepared.eval) == (1, None)
    assert "only one row" in prepared.facts.notes[0]


def test_rows_of_one_prompt_cannot_be_divided_and_that_is_said(tmp_path: Path, tokenizer: Tokenizer):
    write(tmp_path, "train.jsonl", [{"messages": turns("find", f"fox {index}")} for index in range(9)])
    prepared = prepare(recipe(), tmp_path, tokenizer)
    assert prepared.eval is None
    assert "same prompt" in prepared.facts.notes[0]


def test_number_that_would_take_every_row_leaves_one(tmp_path: Path, tokenizer: Tokenizer):
    write(tmp_path, "train.jsonl", chats(5))
    prepared = prepare(recipe(eval_split=100), tmp_path, tokenizer)
    assert (len(prepared.train), len(prepared.eval or [])) == (1, 4)


def test_named_sets_are_not_mixed_and_nothing_is_held_back(tmp_path: Path, tokenizer: Tokenizer):
    for name, word in (("train", "fox"), ("eval", "dog"), ("test", "cat")):
        write(tmp_path, f"{name}.jsonl", chats(8, asked=word + " {}"))
    prepared = prepare(recipe(eval="eval.jsonl", test="test.jsonl"), tmp_path, tokenizer)
    for name, word in (("train", "fox"), ("eval", "dog"), ("test", "cat")):
        assert [task.messages[0]["content"] for task in prepared.tasks(name)] == [f"{word} {i}" for i in range(8)]
    assert prepared.facts.warnings == []


def test_evaluation_rows_that_are_trained_on_are_warned_of(tmp_path: Path, tokenizer: Tokenizer):
    write(tmp_path, "train.jsonl", chats(8))
    write(tmp_path, "eval.jsonl", chats(3))
    warnings = prepare(recipe(eval="eval.jsonl"), tmp_path, tokenizer).facts.warnings
    assert "3 of 3 eval rows have a prompt that is trained on" in warnings[0]


@pytest.mark.parametrize(("size", "left"), [(5, 5), (-1, 20), (None, 20), (900, 20)])
def test_subset_draws_rows_or_takes_all(tmp_path: Path, tokenizer: Tokenizer, size: int | None, left: int):
    write(tmp_path, "train.jsonl", chats(20))
    prepared = prepare(recipe(eval_split=0, train_subset=size), tmp_path, tokenizer)
    assert len(prepared.train) == left
    assert any("900" in note for note in prepared.facts.notes) == (size == 900)


def test_subset_of_none_is_refused_for_training_and_means_none_for_evaluation(tmp_path: Path, tokenizer: Tokenizer):
    write(tmp_path, "train.jsonl", chats(20))
    assert refused(tmp_path, tokenizer, train_subset=0).place == "data.train_subset"
    assert prepare(recipe(eval_subset=0), tmp_path, tokenizer).eval is None


def test_evaluation_subset_draws_from_what_is_held_back(tmp_path: Path, tokenizer: Tokenizer):
    write(tmp_path, "train.jsonl", chats(40))
    prepared = prepare(recipe(eval_split=20, eval_subset=5), tmp_path, tokenizer)
    assert (len(prepared.train), len(prepared.eval or []), len(prepared.tasks("eval"))) == (20, 5, 5)


# --- bad rows


def test_every_bad_row_is_reported_in_one_go(tmp_path: Path, tokenizer: Tokenizer):
    rows = [*chats(3), *({"messages": turns("find", " ")} for _ in range(30))]
    write(tmp_path, "train.jsonl", rows)
    error = refused(tmp_path, tokenizer)
    assert error.message.startswith("30 of 33 rows cannot be used")
    assert "train.jsonl:4: messages[1]: an assistant turn is empty (write the answer)" in error.message
    assert error.message.count("train.jsonl:") == 20
    assert "and 10 more" in error.message


def test_one_bad_row_is_the_error_itself(tmp_path: Path, tokenizer: Tokenizer):
    write(tmp_path, "train.jsonl", [*chats(3), {"messages": turns("find")}])
    error = refused(tmp_path, tokenizer)
    assert (error.place, error.exit_code) == ("train.jsonl:4", 2)
    assert "no assistant turn" in error.message


def test_bad_rows_of_all_sets_are_reported_together(tmp_path: Path, tokenizer: Tokenizer):
    write(tmp_path, "train.jsonl", [*chats(3), {"messages": []}])
    write(tmp_path, "eval.jsonl", [{"messages": []}, *chats(3)])
    message = refused(tmp_path, tokenizer, eval="eval.jsonl").message
    assert "train.jsonl:4" in message
    assert "eval.jsonl:1" in message


def test_bad_rows_are_skipped_when_asked_and_said(tmp_path: Path, tokenizer: Tokenizer):
    write(tmp_path, "train.jsonl", [*chats(3), {"messages": []}, 7])
    prepared = prepare(recipe(on_bad_row="skip", eval_split=0), tmp_path, tokenizer)
    assert len(prepared.train) == 3
    assert prepared.facts.bad_rows == 2
    assert "2 of 5 rows cannot be used and are skipped" in prepared.facts.warnings[0]
    assert "train.jsonl:5" in prepared.facts.warnings[0]


def test_nothing_but_bad_rows_is_refused_even_when_skipping(tmp_path: Path, tokenizer: Tokenizer):
    write(tmp_path, "train.jsonl", [{"messages": []}] * 3)
    refused(tmp_path, tokenizer, on_bad_row="skip")


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_empty_data_is_refused(tmp_path: Path, tokenizer: Tokenizer, content: str):
    (tmp_path / "train.jsonl").write_text(content)
    assert "no rows" in refused(tmp_path, tokenizer).message


def test_template_that_refuses_a_row_names_it(tmp_path: Path):
    tokenizer = Tokenizer.open(chat_folder(tmp_path / "model", "gemma"))
    write(tmp_path, "train.jsonl", [*chats(2), {"messages": turns("a", "b", system="s")}])
    error = refused(tmp_path, tokenizer)
    assert error.place == "train.jsonl:3"
    assert "System role not supported" in error.message


def test_model_without_template_is_refused_before_rows_are_counted(tmp_path: Path):
    write(tmp_path, "train.jsonl", chats(2))
    tokenizer = Tokenizer.open(tokenizer_folder(tmp_path / "model", None))
    assert "chatml" in refused(tmp_path, tokenizer).hint
    assert len(prepare(recipe(chat_template="chatml", eval_split=0), tmp_path, tokenizer).train) == 2


# --- formats


def test_format_is_found_over_all_rows_and_not_the_first(tmp_path: Path, tokenizer: Tokenizer):
    write(
        tmp_path, "train.jsonl", [{"instruction": "a", "output": "b"}, *chats(4), {"instruction": "c", "output": "d"}]
    )
    error = refused(tmp_path, tokenizer)
    assert "2 of 6 rows" in error.message
    assert "train.jsonl:1: the row is laid out as `alpaca`, most rows as `messages`" in error.message
    assert "train.jsonl:6" in error.message


def test_warnings_count_each_row_once_though_mixed_sets_are_read_twice(tmp_path: Path):
    tokenizer = Tokenizer.open(chat_folder(tmp_path / "model", "plain"))
    write(tmp_path, "train.jsonl", [*chats(4), {"instruction": "a", "output": "b"}])
    warnings = prepare(recipe(on_bad_row="skip", eval_split=0), tmp_path, tokenizer).facts.warnings
    assert any("no end token in 4 of 4 conversations" in warning for warning in warnings)


def test_row_that_also_fits_the_common_format_is_read_by_it(tmp_path: Path, tokenizer: Tokenizer):
    both = {**chats(1)[0], "instruction": "a", "output": "b"}
    write(tmp_path, "train.jsonl", [both, *({"instruction": "a", "output": str(n)} for n in range(4))])
    prepared = prepare(recipe(eval_split=0), tmp_path, tokenizer)
    assert len(prepared.train) == 5
    assert prepared.facts.train.format == "alpaca"


def test_named_format_is_used_though_another_fits_better(tmp_path: Path, tokenizer: Tokenizer):
    write(tmp_path, "train.jsonl", [{**row, "instruction": "a", "output": "b"} for row in chats(3)])
    prepared = prepare(recipe(eval_split=0, format="alpaca"), tmp_path, tokenizer)
    assert [task.truth for task in prepared.tasks("train")] == ["b"] * 3


def test_raw_text_for_sft_hints_at_the_method(tmp_path: Path, tokenizer: Tokenizer):
    write(tmp_path, "train.jsonl", [{"text": "a"}] * 3)
    assert refused(tmp_path, tokenizer).hint.startswith("use `method: cpt`")
    assert refused(tmp_path, tokenizer, format="text").place == "data.format"


def test_text_of_chat_rows_is_trained_on_by_cpt(tmp_path: Path, tokenizer: Tokenizer):
    write(tmp_path, "train.jsonl", [{**row, "text": "the fox"} for row in chats(3)])
    prepared = prepare(recipe("cpt", eval_split=0), tmp_path, tokenizer)
    assert texts(prepared, "train", tokenizer) == ["the fox"] * 3
    assert prepared.tasks("train") == []


# --- lengths


def test_cut_and_dropped_rows_are_counted_and_said(tmp_path: Path, tokenizer: Tokenizer):
    long_answer, long_prompt = turns("find", "fox " * 90), turns("find " * 90, "fox")
    write(tmp_path, "train.jsonl", [*chats(3), {"messages": long_answer}, {"messages": long_prompt}])
    prepared = prepare(recipe(eval_split=0, max_length=80), tmp_path, tokenizer)
    assert (len(prepared.train), prepared.facts.train.cut_rows, prepared.facts.dropped_rows) == (4, 1, 1)
    assert [prepared.was_cut("train", index) for index in range(4)] == [False, False, False, True]
    assert int(prepared.train.lengths.max()) == 80
    assert any("lose their end" in warning for warning in prepared.facts.warnings)


def test_rows_without_an_answer_in_reach_are_refused(tmp_path: Path, tokenizer: Tokenizer):
    write(tmp_path, "train.jsonl", chats(3))
    assert "max_length" in refused(tmp_path, tokenizer, max_length=8).hint


def test_document_becomes_several_examples_and_splits_by_document(tmp_path: Path, tokenizer: Tokenizer):
    write(tmp_path, "train.jsonl", [{"text": f"{name} " * 60} for name in ("fox", "dog", "cat", "cow")])
    prepared = prepare(recipe("cpt", eval_split=1, max_length=32), tmp_path, tokenizer)
    assert prepared.eval is not None
    (held,) = {prepared.eval.origin(index).line for index in range(len(prepared.eval))}
    assert {prepared.train.origin(index).line for index in range(len(prepared.train))} == {1, 2, 3, 4} - {held}
    assert prepared.facts.train.rows == 3
    assert prepared.facts.train.examples == len(prepared.train) > 3


# --- tasks, facts, reuse


def test_tasks_are_the_turns_before_the_last_answer(tmp_path: Path, tokenizer: Tokenizer):
    write(tmp_path, "train.jsonl", [{"messages": turns("a", "b", "c", "d")}] * 2)
    task = prepare(recipe(eval_split=0), tmp_path, tokenizer).tasks("train")[1]
    assert (task.index, task.truth, task.origin, task.tools) == (1, "d", "train.jsonl:2", None)
    assert task.messages == turns("a", "b", "c")


def test_prompt_of_a_task_begins_its_example(tmp_path: Path, tokenizer: Tokenizer):
    write(tmp_path, "train.jsonl", chats(12))
    settings = recipe()
    prepared = prepare(settings, tmp_path, tokenizer)
    renders = renderer_for(settings, tmp_path, tokenizer)
    for task in prepared.tasks("train"):
        prompt = renders.prompt(task.messages, task.tools)
        example = prepared.train[task.index]
        assert example.ids[: len(prompt)].tolist() == prompt
        assert int(np.argmax(example.trained)) == len(prompt)


def test_same_recipe_is_prepared_once(tmp_path: Path, tokenizer: Tokenizer):
    write(tmp_path, "train.jsonl", chats(20))
    first = prepare(recipe(), tmp_path, tokenizer)
    stamp = (first.folder / "facts.json").stat().st_mtime_ns
    again = prepare(recipe(), tmp_path, tokenizer)
    assert again.folder == first.folder
    assert (again.folder / "facts.json").stat().st_mtime_ns == stamp
    assert asdict(Prepared.open(first.folder).facts) == asdict(first.facts)


@pytest.mark.parametrize(
    "change",
    [
        {"max_length": 64},
        {"split_seed": 1},
        {"eval_split": 0.3},
        {"template_args": {"x": 1}},
        {"chat_template": "chatml"},
        {"train_subset": 5},
        {"eval_subset": 1},
        {"on_bad_row": "skip"},
        {"format": "messages"},
        {"method": {"name": "sft", "train_on": "all"}},
    ],
)
def test_change_of_a_setting_is_prepared_anew(tmp_path: Path, tokenizer: Tokenizer, change: dict[str, Any]):
    write(tmp_path, "train.jsonl", chats(20))
    assert prepare(recipe(), tmp_path, tokenizer).folder != prepare(recipe(**change), tmp_path, tokenizer).folder


def test_change_of_the_file_or_of_the_tokenizer_is_prepared_anew(tmp_path: Path, tokenizer: Tokenizer):
    write(tmp_path, "train.jsonl", chats(20))
    first = prepare(recipe(), tmp_path, tokenizer).folder
    assert prepare(recipe(), tmp_path, Tokenizer.open(chat_folder(tmp_path / "other", "llama3"))).folder != first
    write(tmp_path, "train.jsonl", chats(21))
    assert prepare(recipe(), tmp_path, tokenizer).folder != first


def test_sets_built_twice_have_the_same_hashes(tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch):
    write(tmp_path, "train.jsonl", chats(20))
    first = prepare(recipe(), tmp_path, tokenizer).facts
    monkeypatch.setenv("LORRY_HOME", str(tmp_path / "elsewhere"))
    assert asdict(prepare(recipe(), tmp_path, tokenizer).facts) == asdict(first)


def test_failure_leaves_nothing_behind(tmp_path: Path, tokenizer: Tokenizer):
    write(tmp_path, "train.jsonl", [{"messages": []}])
    refused(tmp_path, tokenizer)
    assert list((cache() / "rows").iterdir()) == []


def test_what_a_killed_process_left_is_removed(tmp_path: Path, tokenizer: Tokenizer):
    write(tmp_path, "train.jsonl", chats(20))
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left, alive = cache() / f"rows/.abc.{ended.pid}", cache() / "rows/.abc.1"
    for folder in (left, alive):
        folder.mkdir(parents=True)
    prepare(recipe(), tmp_path, tokenizer)
    assert (left.exists(), alive.exists()) == (False, True)


def test_full_disk_is_said_as_such(tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch):
    write(tmp_path, "train.jsonl", chats(20))
    monkeypatch.setattr("lorry.data.prepare.write_json", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(InputError, match="the disk is full") as caught:
        prepare(recipe(), tmp_path, tokenizer)
    assert "LORRY_HOME" in caught.value.hint


def test_facts_give_hashes_of_files_and_sets(tmp_path: Path, tokenizer: Tokenizer):
    import hashlib

    write(tmp_path, "train.jsonl", chats(20))
    facts = prepare(recipe(), tmp_path, tokenizer).facts
    assert facts.files == {"train.jsonl": hashlib.sha256((tmp_path / "train.jsonl").read_bytes()).hexdigest()}
    assert facts.eval is not None
    assert facts.train.sha256 != facts.eval.sha256
    assert json.loads(json.dumps(facts.as_json()))["train"]["rows"] == 18


def test_missing_folder_of_rendered_rows_is_said(tmp_path: Path):
    with pytest.raises(DataError, match="gone"):
        Prepared.open(tmp_path / "nowhere")


# --- templates


def test_template_file_of_the_recipe_is_used(tmp_path: Path, tokenizer: Tokenizer):
    write(tmp_path, "train.jsonl", chats(2))
    (tmp_path / "own.jinja").write_text("{% for m in messages %}({{ m.content }}){% endfor %}")
    prepared = prepare(recipe(chat_template="own.jinja", eval_split=0), tmp_path, tokenizer)
    assert texts(prepared, "train", tokenizer)[0] == "(find 0)(the fox 0)"


def test_missing_or_broken_template_file_is_refused(tmp_path: Path, tokenizer: Tokenizer):
    write(tmp_path, "train.jsonl", chats(2))
    assert refused(tmp_path, tokenizer, chat_template="none.jinja").place == "none.jinja"
    (tmp_path / "bad.jinja").write_text("{% for %}")
    assert "cannot be compiled" in refused(tmp_path, tokenizer, chat_template="bad.jinja").message


@pytest.mark.parametrize("template", ["", "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}"])
def test_template_that_leaves_the_answer_out_is_refused(tmp_path: Path, tokenizer: Tokenizer, template: str):
    write(tmp_path, "train.jsonl", chats(2))
    (tmp_path / "own.jinja").write_text(template)
    error = refused(tmp_path, tokenizer, chat_template="own.jinja")
    assert "train.jsonl:1: the chat template does not write the answer" in str(error)


@pytest.mark.parametrize("name", ["afile", "afile/below"])
def test_home_that_is_a_file_is_refused_with_a_hint(
    tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch, name: str
):
    write(tmp_path, "train.jsonl", chats(2))
    (tmp_path / "afile").write_text("")
    monkeypatch.setenv("LORRY_HOME", str(tmp_path / name))
    with pytest.raises(InputError, match="cannot be written: Not a directory") as caught:
        prepare(recipe(), tmp_path, tokenizer)
    assert "LORRY_HOME" in caught.value.hint


def test_template_arguments_reach_every_row(tmp_path: Path):
    tokenizer = Tokenizer.open(chat_folder(tmp_path / "model", "qwen3"))
    write(tmp_path, "train.jsonl", chats(2))
    off = prepare(recipe(template_args={"enable_thinking": False}, eval_split=0), tmp_path, tokenizer)
    on = prepare(recipe(eval_split=0), tmp_path, tokenizer)
    assert off.facts.train.trained_tokens < on.facts.train.trained_tokens
    assert off.train[0].ids.tolist() == on.train[0].ids.tolist()


# --- real sets, memory, imports


@pytest.mark.parametrize(
    ("name", "layout", "rows"),
    [
        ("sft/raw/alpaca_en_demo.json", "alpaca", 849),
        ("sft/raw/instruction_data.json", "alpaca", 937),
        ("sft/raw/glaive_toolcall_en_demo.json", "sharegpt", 257),
        ("sft/raw/reason_tool_use_demo_50.jsonl", "messages", 43),
    ],
)
def test_real_sets_are_read_whole(tmp_path: Path, shared_data: Path, name: str, layout: str, rows: int):
    tokenizer = Tokenizer.open(chat_folder(tmp_path, "qwen3"))
    prepared = prepare(recipe(train=name, max_length=8192), shared_data, tokenizer)
    train, held = prepared.facts.train, prepared.facts.eval
    assert held is not None
    assert (train.format, train.rows + held.rows, prepared.facts.dropped_rows) == (layout, rows, 0)


def test_real_tasks_without_answers_are_refused_by_field(tmp_path: Path, shared_data: Path, tokenizer: Tokenizer):
    error = refused(shared_data, tokenizer, train="sft/raw/self_instruct_seed_tasks.jsonl")
    assert "149 of 149 rows" in error.message
    assert "output: is missing" in error.message


def test_real_preference_and_image_rows_are_refused(shared_data: Path, tokenizer: Tokenizer):
    assert "cannot be used" in refused(shared_data, tokenizer, train="preference/raw/dpo_en_demo.json").message
    assert "images" in refused(shared_data, tokenizer, train="ocr/ocr_chat.jsonl").message


_MEASURE = """
import sys
from pathlib import Path
from lorry.data.prepare import prepare
from lorry.data.tokenizer import Tokenizer
from lorry.recipe.schema import Recipe
base = Path(sys.argv[1])
recipe = Recipe.model_validate({"model": {"id": "m"}, "data": {"train": sys.argv[2]}})
prepare(recipe, base, Tokenizer.open(base / "model"))
heavy = any(name in sys.modules for name in ("torch", "transformers", "datasets"))
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(int(peak.split()[1]) // 1024, heavy)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from Linux's /proc")
def test_memory_does_not_grow_with_the_file(tmp_path: Path, tokenizer: Tokenizer):
    sizes: list[int] = []
    for count in (2_000, 30_000):
        name = f"rows{count}.jsonl"
        with (tmp_path / name).open("w", encoding="utf-8") as file:
            file.writelines(json.dumps({**row, "remarks": "x" * 4_000}) + "\n" for row in chats(count))
        command = [sys.executable, "-c", _MEASURE, str(tmp_path), name]
        megabytes, heavy = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        assert heavy == "False"
        sizes.append(int(megabytes))
    assert (tmp_path / "rows30000.jsonl").stat().st_size > 120e6
    assert sizes[1] - sizes[0] < 50, sizes


# --- near-duplicates

TOLD = "the quick brown fox went over the hill and into the wood, where it slept until the moon was high"


def test_near_duplicates_are_dropped_and_the_first_stays(tmp_path: Path, tokenizer: Tokenizer):
    rows = [
        *chats(6, "find the {}th animal of the wood", "it is number {} of all"),
        *chats(3, "where is the fox?", TOLD + "{}"),
    ]
    write(tmp_path, "train.jsonl", [rows[6], *rows[:6], {"messages": turns("Where is  the fox?", TOLD + "!")}])
    kept = prepare(recipe(eval_split=0), tmp_path, tokenizer)
    dropped = prepare(recipe(eval_split=0, drop_near_duplicates=0.8), tmp_path, tokenizer)
    assert (kept.facts.train.rows, kept.facts.near_duplicates) == (8, 0)
    assert (dropped.facts.train.rows, dropped.facts.near_duplicates) == (7, 1)
    assert str(dropped.train.origin(0)) == "train.jsonl:1"
    assert "1 of 8 training rows left out" in dropped.facts.notes[0]
    assert Prepared.open(dropped.folder).facts == dropped.facts


@pytest.mark.parametrize("threshold", [0.8, 1])
def test_rows_that_think_or_are_told_something_else_are_no_duplicates(
    tmp_path: Path, tokenizer: Tokenizer, threshold: float
):
    asked, told = turns("where is the fox?", TOLD)
    thinking = {**told, "reasoning_content": "foxes sleep in the wood"}
    rows = [
        [asked, told],
        [asked, thinking],
        [{"role": "system", "content": "find it"}, asked, told],
        [asked, thinking],
    ]
    write(tmp_path, "train.jsonl", [{"messages": row} for row in rows])
    found = prepare(recipe(eval_split=0, drop_near_duplicates=threshold), tmp_path, tokenizer)
    assert (found.facts.train.rows, found.facts.near_duplicates) == (3, 1)
    assert [task.reasoning for task in found.tasks("train")] == ["", thinking["reasoning_content"], ""]


def test_held_back_rows_are_drawn_from_what_stays(tmp_path: Path, tokenizer: Tokenizer):
    write(tmp_path, "train.jsonl", [row for row in chats(40, "where is fox {}?", TOLD + " {}") for _ in range(2)])
    found = prepare(recipe(eval_split=5, drop_near_duplicates=1), tmp_path, tokenizer)
    assert found.facts.eval
    assert (found.facts.train.rows, found.facts.eval.rows, found.facts.near_duplicates) == (35, 5, 40)
    assert not {task.messages[-1]["content"] for task in found.tasks("eval")} & {
        task.messages[-1]["content"] for task in found.tasks("train")
    }


def test_near_duplicates_of_raw_text_and_of_pairs_are_dropped(tmp_path: Path, tokenizer: Tokenizer):
    texts = [{"text": f"{name} {TOLD} {TOLD} {name}"} for name in ("fox", "bear", "fox.")]
    write(tmp_path, "train.jsonl", texts)
    found = prepare(recipe("cpt", eval_split=0, drop_near_duplicates=0.8, max_length=16), tmp_path, tokenizer)
    assert (found.facts.train.rows, found.facts.near_duplicates) == (2, 1)
    pairs = [{"prompt": "where?", "chosen": TOLD, "rejected": word * 9} for word in ("here ", "there ", "Here ")]
    write(tmp_path, "train.jsonl", pairs)
    found = prepare(recipe("dpo", eval_split=0, drop_near_duplicates=0.9), tmp_path, tokenizer)
    assert (found.facts.train.rows, found.facts.near_duplicates) == (2, 1)
