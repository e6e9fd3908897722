"""What a rehearsal is made of, part by part: rows, recipe, room, progress, findings."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lorry.data.examples import Example, write_examples
from lorry.data.facts import DataFacts, split_facts
from lorry.data.prepare import Prepared
from lorry.data.rows import Origin
from lorry.errors import DataError
from lorry.plan.rehearsal import faults, rows
from lorry.plan.rehearsal.outcome import STAGES, Rehearsal, unknown
from lorry.plan.rehearsal.progress import Progress
from lorry.plan.rehearsal.room import room
from lorry.recipe.rehearsal import rehearsal
from lorry.recipe.schema import Recipe
from lorry.track.folder import write_json
from rehearsals import use_own_tmp


def recipe(**sections: Any) -> Recipe:
    return Recipe.model_validate({"model": {"id": "tiny"}, "data": {"train": "rows.jsonl"}, **sections})


def prepared(folder: Path, lengths: list[int], *, held: int = 6) -> Prepared:
    """Rows of these lengths, the second half of each trained on, and some short ones held back."""
    splits = {"train": lengths, "eval": [5] * held} if held else {"train": lengths}
    made = {}
    for split, each in splits.items():
        examples = [Example(np.arange(size, dtype=np.int32), np.arange(size) >= size // 2) for size in each]
        written = write_examples(
            folder / split, ((one, Origin("rows.jsonl", at + 1)) for at, one in enumerate(examples))
        )
        np.save(folder / split / "cut.npy", np.zeros(len(each), dtype=np.bool_))
        lines = (f'{{"messages": [], "tools": null, "truth": "{at}", "origin": "{at}"}}\n' for at in range(len(each)))
        (folder / split / "tasks.jsonl").write_text("".join(lines), encoding="utf-8")
        made[split] = split_facts(written, len(each), 0, "messages")
    write_json(folder / "facts.json", DataFacts(made["train"], made.get("eval"), None, {}, 0, [], 0).as_json())
    return Prepared.open(folder)


def test_longest_rows_and_others_are_chosen_for_two_steps(tmp_path: Path):
    found = prepared(tmp_path, [10] * 40 + [90, 80])
    chosen = rows.choose(found, recipe(train={"micro_batch": 4}), vocabulary=300)
    assert {40, 41} <= set(chosen.rows["train"])
    assert (chosen.train, chosen.micro_batch, chosen.accumulation) == (8, 4, 1)
    assert (chosen.longest, chosen.true_longest) == (90, 90)
    assert len(chosen.rows["eval"]) == 4


def test_long_rows_make_the_micro_batch_smaller(tmp_path: Path):
    found = prepared(tmp_path, [1500] * 40)
    chosen = rows.choose(found, recipe(train={"micro_batch": 16, "accumulation": 8}), vocabulary=150_000)
    assert chosen.train < 8
    assert chosen.micro_batch * chosen.accumulation * 2 <= max(2, chosen.train)


def test_row_that_takes_too_long_gives_way_to_the_longest_that_does_not(tmp_path: Path):
    found = prepared(tmp_path, [100_000, 8_000, *[20] * 30])
    chosen = rows.choose(found, recipe(), vocabulary=32_000)
    assert (chosen.longest, chosen.true_longest) == (8_000, 100_000)
    assert chosen.train > 10
    assert "the longest has 100,000" in chosen.told()


def test_rows_that_all_take_long_leave_the_shortest(tmp_path: Path):
    found = prepared(tmp_path, [90_000, 70_000, 80_000], held=0)
    assert rows.choose(found, recipe(), vocabulary=150_000).rows == {"train": [1]}


def test_few_rows_are_taken_several_times(tmp_path: Path):
    chosen = rows.choose(prepared(tmp_path, [10, 12, 14], held=0), recipe(train={"micro_batch": 8}), vocabulary=300)
    assert (chosen.train, chosen.micro_batch) == (3, 8)


def test_chosen_rows_are_written_as_the_trainer_reads_them(tmp_path: Path):
    found = prepared(tmp_path / "all", [10] * 40 + [90])
    chosen = rows.choose(found, recipe(train={"micro_batch": 1}), vocabulary=300)
    written = rows.write(found, chosen, tmp_path / "few")
    assert written.facts.train.examples == len(written.train) == chosen.train
    assert written.train.origin(chosen.train - 1) == Origin("rows.jsonl", 41)
    assert [task.truth for task in written.tasks("eval")] == [str(row) for row in chosen.rows["eval"]]
    assert written.test is None


def test_row_with_much_to_learn_keeps_its_tokens_and_counts_fewer(tmp_path: Path):
    found = prepared(tmp_path / "all", [4000] * 2)
    chosen = rows.choose(found, recipe(), vocabulary=150_000)
    written = rows.write(found, chosen, tmp_path / "few")
    example = written.train[0]
    assert len(example.ids) == 4000
    assert int(example.trained.sum()) <= chosen.most_trained == 100
    assert example.trained[2000]
    assert example.trained[-1]


def test_recipe_keeps_what_is_learned_and_how(tmp_path: Path):
    true = recipe(lora={"rank": 64, "dora": True}, train={"micro_batch": 4, "accumulation": 8, "warmup": 100})
    made = rehearsal(true, micro_batch=4, accumulation=2)
    assert (made.recipe.lora, made.recipe.data, made.recipe.method) == (true.lora, true.data, true.method)
    assert (made.recipe.train.steps, made.recipe.train.learning_rate) == (2, true.train.learning_rate)
    assert "train.accumulation: 8 -> 2" in made.changes
    assert not any("micro_batch" in line for line in made.changes)


def test_recipe_tells_nobody_and_has_no_budget():
    true = recipe(budget={"hours": 0.001}, track={"sinks": ["tensorboard"]})
    made = rehearsal(true, micro_batch=8, accumulation=1).recipe
    assert made.budget.hours is None
    assert not made.track.tells_somebody
    assert "whether trackers and alerts take what they are told" in unknown(true)


def test_what_only_a_gpu_does_is_replaced_and_told():
    true = recipe(model={"id": "tiny", "precision": "fp16", "attention": "flash", "adapter": "old"})
    made = rehearsal(true, micro_batch=8, accumulation=1)
    assert (made.recipe.model.precision, made.recipe.model.attention, made.recipe.model.adapter) == (
        "fp32",
        "auto",
        None,
    )
    assert any("FlashAttention, fp16 and its loss scaling" in line for line in unknown(true))


def test_stages_that_were_never_entered_were_left_out():
    result = Rehearsal()
    progress = Progress(result, lambda _stage: None)
    for stage in ("check", "rows", "training"):
        progress.enter(stage)
    progress.finish()
    assert [stage.name for stage in result.stages] == list(STAGES)
    endings = {stage.name: stage.ending for stage in result.stages}
    assert (endings["rows"], endings["tokenizer"], endings["resume"]) == ("passed", "left out", "left out")


def test_failure_ends_at_its_stage():
    result = Rehearsal()
    progress = Progress(result, lambda _stage: None)
    progress.enter("training")
    progress.take({"beat": ["scoring", 2]})
    progress.finish("failed")
    assert result.failed is not None
    assert result.failed.name == result.stages[-1].name == "generation"
    assert not result.passed


def test_trainers_words_move_stages_on_but_not_back():
    progress = Progress(Rehearsal(), lambda _stage: None)
    for message in ({"stage": "model"}, {"kind": "loaded", "data": {}}, {"beat": ["evaluating", 2]}):
        progress.take(message)
    progress.take({"beat": ["training", 2]})
    assert progress.stage == "evaluation"
    progress.take({"stage": "resume"})
    progress.take({"beat": ["loading", 0]})
    assert progress.stage == "resume"


@pytest.mark.parametrize(
    ("stage", "fault", "code", "place"),
    [
        ("model", {"error": "ValueError: Target module X is not supported"}, "rehearsal.model", "lora.target_modules"),
        ("plain PEFT", {"error": "KeyError: 'x'"}, "rehearsal.plain-peft", "lora"),
        ("training", {"error": "out of memory: x", "exit_code": 1}, "rehearsal.memory", "train"),
        ("training", {"error": "x", "trace": ["  File a.py, line 3, in loss"]}, "rehearsal.training", "method"),
        ("metrics", {"error": "x", "place": "rows.jsonl:3"}, "rehearsal.metrics", "rows.jsonl:3"),
    ],
)
def test_fault_is_a_finding_with_code_and_place(
    tmp_path: Path, stage: str, fault: dict[str, Any], code: str, place: str
):
    finding = faults.of_fault(stage, fault, tmp_path / "none.log")
    assert (finding.code, finding.place, finding.severity) == (code, place, "error")
    assert finding.remedy


def test_fault_of_the_input_is_no_refusal(tmp_path: Path):
    assert not faults.of_fault("model", {"error": "x", "exit_code": 2}, tmp_path / "none").refusal
    assert faults.of_fault("model", {"error": "x", "exit_code": 1}, tmp_path / "none").refusal
    assert not faults.of_error("rows", DataError("x")).refusal


def test_room_is_gone_whatever_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    place = use_own_tmp(monkeypatch, tmp_path)
    with pytest.raises(SystemExit), room():
        os.kill(os.getpid(), signal.SIGTERM)
    assert list(place.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_rooms_that_killed_rehearsals_left_are_cleared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    place = use_own_tmp(monkeypatch, tmp_path)
    left, fresh = place / "lorry-rehearsal-4194304-old", place / "lorry-rehearsal-4194304-new"
    for folder in (left, fresh):
        folder.mkdir()
    os.utime(left, (time.time() - 7200, time.time() - 7200))
    with room() as made:
        assert made.path.name.startswith(f"lorry-rehearsal-{os.getpid()}-")
    assert list(place.iterdir()) == [fresh]
