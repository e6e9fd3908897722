from __future__ import annotations

from pathlib import Path

import pytest

from lorry.errors import InputError
from lorry.recipe import init, template_files
from lorry.recipe.init import Answers, compose, fit_memory, read_length, read_memory, read_task, write
from lorry.recipe.load import load


@pytest.mark.parametrize("task", ["chat", "cli", "cpt"])
@pytest.mark.parametrize("memory", [None, 8, 24, 80])
def test_what_init_writes_loads_and_holds_the_answers(tmp_path: Path, task: str, memory: float | None):
    answers = Answers(model="Qwen/Qwen2.5-7B", data="/rows/x.jsonl", task=task, gpu_memory=memory, length="steps: 70")
    write(tmp_path, compose(answers, tmp_path))
    recipe = load(tmp_path / "recipe.yaml").recipe
    assert (recipe.model.id, recipe.data.train, recipe.train.steps) == ("Qwen/Qwen2.5-7B", "/rows/x.jsonl", 70)
    assert recipe.train.micro_batch * recipe.train.accumulation == 16


def test_every_template_says_what_it_is_for():
    assert set(init.tasks()) == {"chat", "cli", "cpt"}
    assert all(one.purpose for one in template_files.templates().values())


@pytest.mark.parametrize(
    "odd", ["my rows: new.jsonl", "a #b.jsonl", '"quoted".jsonl', "100", "null", "{x}", "日本.jsonl", "$model"]
)
def test_odd_file_names_are_quoted(tmp_path: Path, odd: str):
    write(tmp_path, compose(Answers(data=str(tmp_path / odd)), tmp_path))
    assert load(tmp_path / "recipe.yaml").recipe.data.train == str(tmp_path / odd)
    write(tmp_path, compose(Answers(data=f"hub:{odd}"), tmp_path), force=True)
    assert load(tmp_path / "recipe.yaml").recipe.data.train == f"hub:{odd}"


def test_answer_that_no_recipe_can_hold_is_refused_before_anything_is_written(tmp_path: Path):
    with pytest.raises(InputError):
        compose(Answers(model="a\0b"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_path_of_the_current_folder_is_rewritten_for_the_recipes_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "sub", compose(Answers(data="rows.jsonl", model="./m"), tmp_path / "sub"))
    recipe = load(tmp_path / "sub" / "recipe.yaml").recipe
    assert (recipe.data.train, recipe.model.id) == (str(tmp_path / "rows.jsonl"), str(tmp_path / "m"))


@pytest.mark.parametrize(
    ("answer", "memory"), [("24", 24), ("24 GB", 24), ("79.6GiB", 79.6), ("this computer", None), ("CPU", None)]
)
def test_memory_is_read(answer: str, memory: float | None):
    assert read_memory(answer) == memory


@pytest.mark.parametrize("answer", ["much", "-5", "24 TB", "1e9", "nan"])
def test_memory_that_is_none_is_refused(answer: str):
    with pytest.raises(InputError):
        read_memory(answer)


@pytest.mark.parametrize(
    ("answer", "line"),
    [("200", "steps: 200"), ("1 step", "steps: 1"), ("2 epochs", "epochs: 2"), ("0.5 epoch", "epochs: 0.5")],
)
def test_length_is_read(answer: str, line: str):
    assert read_length(answer) == line


@pytest.mark.parametrize("answer", ["", "0", "-3 steps", "1.5 steps", "forever", "9" * 50])
def test_length_that_is_none_is_refused(answer: str):
    with pytest.raises(InputError):
        read_length(answer)


def test_unknown_template_is_refused_and_names_the_others():
    with pytest.raises(InputError) as caught:
        read_task("../chat")
    assert "cpt" in caught.value.hint


def test_model_that_does_not_fit_is_quantised():
    assert fit_memory("Qwen/Qwen2.5-7B-Instruct", 12).quantization == "nf4"
    assert fit_memory("Qwen/Qwen2.5-7B-Instruct", 80).quantization == "none"
    assert fit_memory("HuggingFaceTB/SmolLM2-135M", 8).quantization == "none"


def test_more_memory_never_means_smaller_batches():
    for model in ("a/b-1B", "a/b-8B", "a/b-70B", "unknown/size"):
        fits = [fit_memory(model, memory) for memory in (8, 16, 24, 48, 80, 141)]
        sizes = [fit.micro_batch for fit in fits if fit.quantization == "none" and not fit.activation_checkpointing]
        assert sizes == sorted(sizes)


def test_existing_recipe_is_not_replaced_without_force(tmp_path: Path):
    (tmp_path / "recipe.yaml").write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        write(tmp_path, "new")
    assert (tmp_path / "recipe.yaml").read_text() == "mine"
    assert list(tmp_path.iterdir()) == [tmp_path / "recipe.yaml"]
    write(tmp_path, "new", force=True)
    assert (tmp_path / "recipe.yaml").read_text() == "new"


def test_secrets_have_an_example_and_stay_out_of_git(tmp_path: Path):
    write(tmp_path, "x")
    assert {"HF_TOKEN=", "WANDB_API_KEY="} <= set((tmp_path / ".env.example").read_text().split("\n"))
    assert ".env" in (tmp_path / ".gitignore").read_text().split("\n")


def test_existing_gitignore_is_added_to_once(tmp_path: Path):
    file = tmp_path / ".gitignore"
    file.write_bytes(b"*.pyc\r\n# caf\xe9\nbuild")
    write(tmp_path, "x")
    once = file.read_bytes()
    assert once.startswith(b"*.pyc\r\n# caf\xe9\nbuild\n")
    assert b"\n.env\n" in once
    write(tmp_path, "x", force=True)
    assert file.read_bytes() == once


def test_existing_example_is_kept(tmp_path: Path):
    (tmp_path / ".env.example").write_text("MINE=")
    write(tmp_path, "x")
    assert (tmp_path / ".env.example").read_text() == "MINE="


def test_file_in_place_of_the_folder_is_refused(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file"):
        write(tmp_path / "file", "x")
