"""The person's own files of a rented run: kept when it begins, and found again when it goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

import tiny_runs
from lorry.compute.machine.sending import at_home, keep_own_files, with_kept_names
from lorry.errors import InputError
from lorry.recipe.load import from_dict
from lorry.recipe.schema import Recipe
from lorry.track.folder import RunFolder
from model_folders import TEMPLATE


@pytest.fixture
def rented(tmp_path: Path) -> RunFolder:
    """A run whose recipe names a template above its own folder."""
    below = tmp_path / "recipes"
    below.mkdir()
    (tmp_path / "mine.jinja").write_text(TEMPLATE)
    data = {"train": str(tmp_path / "rows.jsonl"), "eval_split": 4, "chat_template": f"{below}/../mine.jinja"}
    return tiny_runs.begin(tiny_runs.recipe(tmp_path, data=data, compute={"on": ["runpod"]})).folder


def recipe_of(folder: RunFolder, **data: str) -> Recipe:
    found = Recipe.model_validate_json(
        folder.resolved.read_text().partition('"recipe": ')[2].rpartition(',\n  "base"')[0]
    )
    return found.model_copy(update={"data": found.data.model_copy(update=data)})


def test_file_of_ones_own_is_kept_and_named_by_where_it_lies(rented: RunFolder):
    kept = recipe_of(rented)
    assert kept.data.chat_template == "chat_template.jinja"
    assert (rented.path / "files" / "chat_template.jinja").read_text() == TEMPLATE
    assert at_home(kept, rented).data.chat_template == str(rented.path / "files" / "chat_template.jinja")


def test_recipe_that_is_given_anew_names_the_kept_file(rented: RunFolder):
    kept = recipe_of(rented)
    anew = recipe_of(rented, chat_template="../mine.jinja")
    assert with_kept_names(anew, kept) == kept
    other = recipe_of(rented, chat_template="another.jinja")
    assert with_kept_names(other, kept) == other


def test_recipe_without_files_of_ones_own_stays_as_it_is(tmp_path: Path):
    plain = from_dict(tiny_runs.recipe(tmp_path), tmp_path).recipe
    assert at_home(plain, RunFolder(tmp_path)) == plain
    assert with_kept_names(plain, plain) == plain


@pytest.fixture
def judged(tmp_path: Path) -> tuple[RunFolder, Recipe]:
    """A rented run judged by a function that imports its neighbour, by a folder and by a model of the Hub's."""
    judges = tmp_path / "judges"
    for name, text in {"mine.py": "import words\n\n\ndef f(completion): ...\n", "words.py": "", "other.py": ""}.items():
        judges.mkdir(exist_ok=True)
        (judges / name).write_text(text)
    (judges / "model").mkdir()
    (judges / "model" / "config.json").write_text("{}")
    rewards = ["judges/mine.py:f", "exact_match", {"name": "classifier", "model": "judges/model"}]
    rewards += [{"name": "classifier", "model": "owner/judge"}]
    method = {"name": "grpo", "rewards": rewards}
    recipe = from_dict({"model": {"id": "a/b"}, "data": {"train": "rows.jsonl"}, "method": method}, tmp_path).recipe
    folder = RunFolder(tmp_path / "run")
    return folder, keep_own_files(recipe, tmp_path, folder)


def test_files_of_rewards_travel_with_the_neighbours_that_they_import(judged: tuple[RunFolder, Recipe]):
    folder, kept = judged
    assert kept.method["rewards"] == [
        "rewards/0/mine.py:f",
        "exact_match",
        {"name": "classifier", "model": "rewards/2/model"},
        {"name": "classifier", "model": "owner/judge"},
    ]
    files = folder.path / "files"
    sent = {path.relative_to(files).as_posix() for path in files.rglob("*") if path.is_file()}
    assert sent == {"rewards/0/mine.py", "rewards/0/words.py", "rewards/2/model/config.json"}


def test_files_of_one_name_lie_apart_whatever_names_them(tmp_path: Path):
    for folder in ("learnt", "scored"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "m.py").write_text(f"def f(completion): return '{folder}'")
    reward = {"name": "metric", "metric": {"name": "python", "file": str(tmp_path / "learnt/m.py"), "function": "f"}}
    values = {"model": {"id": "a/b"}, "data": {"train": "x"}, "evaluate": {"metrics": [f"{tmp_path}/scored/m.py:f"]}}
    recipe = from_dict({**values, "method": {"name": "grpo", "rewards": [reward]}}, tmp_path).recipe
    folder = RunFolder(tmp_path / "run")
    kept = keep_own_files(recipe, tmp_path, folder)
    learnt, scored = kept.method["rewards"][0]["metric"]["file"], kept.evaluate.metrics[0]["file"]
    assert "learnt" in (folder.path / "files" / learnt).read_text()
    assert "scored" in (folder.path / "files" / scored).read_text()


def test_files_of_rewards_are_found_again_at_home(judged: tuple[RunFolder, Recipe], tmp_path: Path):
    folder, kept = judged
    short, metric, classifier, of_the_hub = at_home(kept, folder).method["rewards"]
    assert short == f"{folder.path}/files/rewards/0/mine.py:f"
    assert (metric, of_the_hub["model"]) == ("exact_match", "owner/judge")
    assert classifier["model"] == f"{folder.path}/files/rewards/2/model"
    anew = from_dict({**kept.model_dump(), "method": {**kept.method, "rewards": ["judges/mine.py:f"]}}, tmp_path).recipe
    assert with_kept_names(anew, kept).method["rewards"] == ["rewards/0/mine.py:f"]


def test_file_of_a_reward_that_is_not_there_is_told(tmp_path: Path):
    recipe = Recipe.model_validate(
        {"model": {"id": "a/b"}, "data": {"train": "x"}, "method": {"name": "grpo", "rewards": ["none.py:f"]}}
    )
    with pytest.raises(InputError, match=r"there is no `none.py`"):
        keep_own_files(recipe, tmp_path, RunFolder(tmp_path / "run"))


def test_file_of_the_clone_keeps_its_name_when_the_recipe_is_given_anew(tmp_path: Path):
    compute = {"on": ["runpod"], "code": f"https://host.example/mine.git@{'a' * 40}"}
    method = {"name": "grpo", "rewards": ["judges/none.py:f"]}
    values = {"model": {"id": "a/b"}, "data": {"train": "rows.jsonl"}, "method": method, "compute": compute}
    recipe = from_dict(values, tmp_path).recipe
    kept = keep_own_files(recipe, tmp_path, RunFolder(tmp_path / "run"))
    assert kept.method["rewards"] == ["judges/none.py:f"]
    assert with_kept_names(recipe, kept) == kept
