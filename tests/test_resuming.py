"""`lorry resume`, and what `lorry run` offers, through the SDK and the command line."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import lorry
from lorry import resuming
from lorry.errors import InputError, RefusedError
from lorry.plan.expected import of_run
from lorry.recipe.load import load
from lorry.track.store import Store
from lorry.trainer.checkpoint import steps
from tiny_runs import chat_rows, cut_back, events_of, recipe, train_here, weights, write_rows

TRAIN = {"steps": 8, "save_every": 2, "eval_every": 4, "keep": 50, "learning_rate": 0.02, "micro_batch": 4}


def stopped(folder: Path, step: int = 4):
    """A run that was cut off after a step, with what its end would have been."""
    run = train_here(recipe(folder, train=TRAIN))
    wanted = weights(run)
    cut_back(run, step)
    at_rest(run)
    return run, wanted


def at_rest(run, status: str = "stopped") -> None:
    Store.open().update(run.id, status=status, pid=None, step=4, steps=8)


def make_ready(run, *flags: str, start: str | None = None):
    return resuming.make_ready(resuming.Continuation(run.id, start, flags))


def recipe_file(folder: Path) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe(folder, train=TRAIN)), encoding="utf-8")
    return path


def test_sdk_goes_on_to_the_same_adapter(tmp_path):
    run, wanted = stopped(tmp_path)
    seen = []
    done = lorry.resume(run.id, watch=seen.append)
    assert weights(done) == wanted
    assert [event.kind for event in seen if event.kind in ("resumed", "finished")] == ["resumed", "finished"]
    assert done.summary["status"] == "finished"


def test_setting_that_decides_what_is_learned_is_refused_with_a_diff(tmp_path):
    run, _ = stopped(tmp_path)
    with pytest.raises(RefusedError) as error:
        make_ready(run, "train.learning_rate=0.001", "lora.rank=8", "evaluate.rows=3")
    assert "train.learning_rate: 0.02 -> 0.001" in str(error.value)
    assert "lora: " in str(error.value) or "lora.rank: 4 -> 8" in str(error.value)
    assert "evaluate" not in str(error.value)


def test_more_steps_and_evaluation_may_change_and_are_said(tmp_path):
    run, _ = stopped(tmp_path)
    make_ready(run, "train.steps=12", "evaluate.rows=1")
    notes = [event.data["message"] for event in events_of(run, "note")]
    assert "continued with train.steps: 8 -> 12" in notes
    assert json.loads(run.folder.resolved.read_text())["recipe"]["train"]["steps"] == 12


def test_fewer_steps_are_refused(tmp_path):
    run, _ = stopped(tmp_path)
    with pytest.raises(RefusedError, match=r"train\.steps: 8 -> 6"):
        make_ready(run, "train.steps=6")


def test_finished_run_is_continued_only_for_more(tmp_path):
    run = train_here(recipe(tmp_path, train=TRAIN))
    at_rest(run, "finished")
    with pytest.raises(InputError, match="all of its 8 steps") as error:
        make_ready(run)
    assert "train.steps=16" in error.value.hint
    make_ready(run, "train.steps=10")


def test_run_from_here_does_not_go_on_on_a_rented_machine(tmp_path):
    run, _ = stopped(tmp_path)
    with pytest.raises(RefusedError, match="began here, and cannot go on on a rented machine"):
        make_ready(run, "compute.on=runpod")


def test_run_that_goes_on_is_not_resumed(tmp_path):
    run, _ = stopped(tmp_path)
    Store.open().update(run.id, status="running", pid=os.getpid())
    with pytest.raises(RefusedError, match="running") as error:
        make_ready(run)
    assert "lorry logs -f" in error.value.hint


@pytest.mark.parametrize("start", ["step-000002", "2", "step-2", "best"])
def test_earlier_checkpoint_is_gone_back_to_and_later_ones_are_kept_aside(tmp_path, start):
    run = train_here(recipe(tmp_path, train=TRAIN))
    wanted = weights(run)
    at_rest(run)
    make_ready(run, start=start)
    kept = steps(run.folder.checkpoints)[-1]
    assert kept == 2 or start == "best"
    from lorry.trainer.process import work

    assert work(run.folder.path) == 0
    assert weights(run) == wanted
    assert len(list(run.folder.checkpoints.glob("superseded-step-*"))) == len(range(kept, 8, 2))


def test_checkpoint_from_elsewhere_is_taken_in(tmp_path):
    run = train_here(recipe(tmp_path, train=TRAIN))
    wanted = weights(run)
    shutil.copytree(run.folder.checkpoints / "step-000004", tmp_path / "home" / "copy")
    shutil.rmtree(run.folder.checkpoints)
    run.folder.checkpoints.mkdir()
    at_rest(run)
    make_ready(run, start=str(tmp_path / "home" / "copy"))
    assert steps(run.folder.checkpoints) == [4]
    assert weights(lorry.resume(run.id)) == wanted


def test_checkpoint_of_another_recipe_is_refused(tmp_path):
    run, _ = stopped(tmp_path)
    other = train_here(recipe(tmp_path, train={**TRAIN, "learning_rate": 0.01}))
    with pytest.raises(RefusedError, match="other settings"):
        make_ready(run, start=str(other.folder.checkpoints / "step-000004"))


def test_damaged_checkpoint_that_was_asked_for_is_an_error(tmp_path):
    run, _ = stopped(tmp_path)
    (run.folder.checkpoints / "step-000002" / "rng.safetensors").write_bytes(b"")
    with pytest.raises(lorry.LorryError, match=r"rng\.safetensors is damaged"):
        make_ready(run, start="step-000002")
    assert steps(run.folder.checkpoints) == [2, 4], "nothing was moved for it"


def test_checkpoint_that_is_not_there_is_an_error_with_those_that_are(tmp_path):
    run, _ = stopped(tmp_path)
    with pytest.raises(InputError, match="no checkpoint `step-000099`") as error:
        make_ready(run, start="step-000099")
    assert "step-000004" in error.value.hint


def test_rows_that_changed_are_refused(tmp_path):
    run, _ = stopped(tmp_path)
    shutil.rmtree(json.loads(run.folder.resolved.read_text())["data_folder"])
    write_rows(tmp_path / "rows.jsonl", chat_rows(20))
    with pytest.raises(InputError, match="not those that the run began with"):
        make_ready(run)


def test_cleared_cache_is_made_again(tmp_path):
    run, _ = stopped(tmp_path)
    shutil.rmtree(json.loads(run.folder.resolved.read_text())["data_folder"])
    make_ready(run)
    assert Path(json.loads(run.folder.resolved.read_text())["data_folder"]).is_dir()


def test_interrupted_run_of_the_same_recipe_is_found_and_no_other(tmp_path):
    path = recipe_file(tmp_path)
    run, _ = stopped(tmp_path)
    assert resuming.interrupted(load(path)).id == run.id
    assert resuming.interrupted(load(path, ["train.learning_rate=0.5"])) is None
    at_rest(run, "finished")
    assert resuming.interrupted(load(path)) is None


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "lorry", *words]


def test_command_resumes_and_prints_the_outcome(tmp_path):
    run, wanted = stopped(tmp_path)
    done = subprocess.run(command("resume", run.id), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert f"Adapter  {run.adapter}" in done.stdout
    assert "step 4" in done.stderr
    assert weights(run) == wanted


def test_command_refuses_a_changed_recipe_with_exit_code_3(tmp_path):
    run, _ = stopped(tmp_path)
    words = command("resume", run.id, "-o", "train.seed=5")
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 3
    assert "train.seed: 0 -> 5" in done.stderr
    assert "hint: " in done.stderr


def test_run_without_a_terminal_says_that_there_is_one_to_resume_and_starts_anew(tmp_path):
    run, _ = stopped(tmp_path)
    words = command("run", str(recipe_file(tmp_path)))
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert f"`lorry resume {run.id}` goes on with it" in done.stderr
    assert run.id not in done.stdout


def test_run_at_a_terminal_asks_and_goes_on_with_the_interrupted_run(tmp_path):
    run, wanted = stopped(tmp_path)
    theirs, ours = pty.openpty()
    process = subprocess.Popen(
        command("run", str(recipe_file(tmp_path))), stdin=ours, stderr=ours, stdout=subprocess.DEVNULL
    )
    os.close(ours)
    os.write(theirs, b"yes\n")
    told = b""
    while True:
        try:
            piece = os.read(theirs, 4096)
        except OSError:
            break
        told += piece
        if not piece:
            break
    assert process.wait(timeout=120) == 0, told.decode()
    assert b"go on with it?" in told
    assert weights(run) == wanted


def test_changed_rows_are_told_where_the_run_goes_on_with_the_old_ones(tmp_path):
    run, _ = stopped(tmp_path)
    make_ready(run)
    assert not [event for event in events_of(run, "note") if "has changed" in event.data["message"]]
    write_rows(tmp_path / "rows.jsonl", chat_rows(20))
    make_ready(run)
    assert [event for event in events_of(run, "note") if "goes on with the rows" in event.data["message"]]


def test_damaged_copy_of_a_checkpoint_from_elsewhere_does_not_come_in(tmp_path, monkeypatch):
    from lorry.trainer import checkpoint

    run, _ = stopped(tmp_path)
    elsewhere = shutil.copytree(run.folder.checkpoints / "step-000002", tmp_path / "copy")
    plain = shutil.copytree

    def torn(source, target, **given):
        plain(source, target, **given)
        (Path(target) / "rng.safetensors").write_bytes(b"")

    monkeypatch.setattr(checkpoint.shutil, "copytree", torn)
    with pytest.raises(lorry.LorryError, match=r"rng\.safetensors is damaged"):
        make_ready(run, start=str(elsewhere))
    assert steps(run.folder.checkpoints) == [2, 4]
    assert not list(run.folder.checkpoints.glob("superseded-*"))


def test_interrupted_copy_of_a_checkpoint_hides_none(tmp_path, monkeypatch):
    from lorry.trainer import checkpoint

    run, _ = stopped(tmp_path)
    elsewhere = shutil.copytree(run.folder.checkpoints / "step-000002", tmp_path / "copy")

    def interrupted(*_words, **_given):
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint.shutil, "copytree", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make_ready(run, start=str(elsewhere))
    assert steps(run.folder.checkpoints) == [2, 4]


def test_run_goes_on_after_lorrys_home_has_moved(tmp_path, monkeypatch):
    run, _ = stopped(tmp_path)
    moved = tmp_path / "another-disk"
    Path(os.environ["LORRY_HOME"]).rename(moved)
    monkeypatch.setenv("LORRY_HOME", str(moved))
    Store.rebuild()
    done = lorry.resume(run.id, overrides=["train.steps=10"])
    assert done.folder.path.is_relative_to(moved)
    assert events_of(done, "trained")[-1].step == 10
    assert not [event for event in events_of(done, "note") if "has changed" in event.data["message"]]


def test_checkpoint_of_the_same_rows_elsewhere_is_taken_and_of_other_rows_refused(tmp_path):
    run, _ = stopped(tmp_path)
    copied = shutil.copy(tmp_path / "rows.jsonl", tmp_path / "copied.jsonl")
    same = train_here(recipe(tmp_path, train=TRAIN, data={"train": str(copied)}))
    write_rows(tmp_path / "others.jsonl", chat_rows(24, start=24))
    other = train_here(recipe(tmp_path, train=TRAIN, data={"train": str(tmp_path / "others.jsonl")}))
    make_ready(run, start=str(same.folder.checkpoints / "step-000002"))
    with pytest.raises(RefusedError, match="other rows to train and eval on"):
        make_ready(run, start=str(other.folder.checkpoints / "step-000002"))


@pytest.mark.parametrize("text", ["{}", "[]", "null", '{"recipe": {}}'])
def test_run_of_an_unknown_version_is_told_so(tmp_path, text):
    run, _ = stopped(tmp_path)
    run.folder.resolved.write_text(text)
    with pytest.raises(InputError, match="cannot be continued"):
        make_ready(run)


def test_setting_of_a_newer_lorry_is_named(tmp_path):
    run, _ = stopped(tmp_path)
    facts = json.loads(run.folder.resolved.read_text())
    facts["recipe"]["train"]["momentum"] = 0.9
    run.folder.resolved.write_text(json.dumps(facts))
    with pytest.raises(InputError, match=r"train\.momentum"):
        make_ready(run)


def test_checkpoint_of_another_version_is_told_so(tmp_path):
    from lorry.trainer.checkpoint import write_manifest

    run, _ = stopped(tmp_path)
    chosen = run.folder.checkpoints / "step-000002"
    facts = json.loads((chosen / "state.json").read_text())
    del facts["short"]
    (chosen / "state.json").write_text(json.dumps(facts))
    write_manifest(chosen)
    with pytest.raises(lorry.LorryError, match="another version of lorry: it does not tell short"):
        make_ready(run, start="2")
    assert steps(run.folder.checkpoints) == [2, 4]


def test_day_in_a_template_is_what_another_days_rows_are_put_down_to(tmp_path, monkeypatch):
    from datetime import date

    template = tmp_path / "day.jinja"
    template.write_text(
        "{{ strftime_now('%d %b %Y') }}{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
        "{{ message['content'] }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    run = train_here(recipe(tmp_path, train=TRAIN, data={"chat_template": str(template)}))
    at_rest(run)
    shutil.rmtree(json.loads(run.folder.resolved.read_text())["data_folder"])

    class Tomorrow(date):
        @classmethod
        def today(cls):
            return cls(2100, 1, 1)

    monkeypatch.setattr("lorry.data.prepare.date", Tomorrow)
    with pytest.raises(InputError) as error:
        make_ready(run)
    assert "writes the day" in error.value.hint


def test_run_made_longer_is_held_against_what_that_takes(tmp_path):
    run, _ = stopped(tmp_path)
    make_ready(run, "train.steps=80")
    longer = of_run(run.folder)
    make_ready(run, "train.steps=800")
    assert of_run(run.folder).tokens == pytest.approx(10 * longer.tokens)


def test_run_goes_on_though_its_plan_cannot_be_read(tmp_path):
    run, _ = stopped(tmp_path)
    run.folder.plan.write_text("{torn", encoding="utf-8")
    make_ready(run, "train.steps=80")
    assert of_run(run.folder).tokens
