"""What made an adapter."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from lorry.recipe.schema import Recipe
from lorry.report.provenance import Origins, collect, commit, machine, masked, versions


def recipe() -> Recipe:
    return Recipe.model_validate({"model": {"id": "m"}, "data": {"train": "d"}, "train": {"seed": 7}})


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", "-C", str(folder), *identity, *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    (tmp_path / "recipe.yaml").write_text("a")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "c")
    return tmp_path


def test_commit_is_named_and_a_clean_tree_is_clean(repository: Path):
    assert commit(repository) == {"commit": git(repository, "rev-parse", "HEAD"), "dirty": False}


@pytest.mark.parametrize("name", ["recipe.yaml", "new.yaml"])
def test_changed_or_new_file_makes_the_tree_dirty(repository: Path, name: str):
    (repository / name).write_text("b")
    found = commit(repository)
    assert found is not None
    assert found["dirty"]


def test_folder_without_git_and_repository_without_commit_have_none(tmp_path: Path):
    assert commit(tmp_path) is None
    git(tmp_path, "init", "-q")
    assert commit(tmp_path) is None


def test_machine_without_git_has_none(repository: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "")
    assert commit(repository) is None


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        (["run", "r.yaml", "--hf-token", "abc"], ["run", "r.yaml", "--hf-token", "***"]),
        (["run", "--api-key=abc"], ["run", "--api-key=***"]),
        (["-o", "tracking.wandb_api_key=abc"], ["-o", "tracking.wandb_api_key=***"]),
        (["hf_" + "a" * 30], ["***"]),
        (["https://user:pw@host/x"], ["https://***@host/x"]),
        (["-o", "evaluate.max_new_tokens=5"], ["-o", "evaluate.max_new_tokens=5"]),
        (["-o", "model.id=org/tokenizer-free"], ["-o", "model.id=org/tokenizer-free"]),
        (["--max-new-tokens", "5"], ["--max-new-tokens", "5"]),
    ],
)
def test_secrets_in_the_command_line_are_masked_and_nothing_else(command: list[str], shown: list[str]):
    assert masked(command) == shown


def test_versions_name_what_is_installed_here():
    found = versions()
    assert found["pydantic"].startswith("2.")
    assert "lorry" in found


def test_machine_has_a_processor_cores_and_memory():
    found = machine()
    assert found["cpu"]
    assert found["cores"] >= 1
    assert found["memory_bytes"] > 1e8


def test_collected_provenance_is_json_with_all_its_parts(repository: Path):
    made = collect(
        Origins(
            recipe(),
            repository,
            model={"id": "m", "revision": "abc"},
            data={"files": {"rows.jsonl": "00ff"}},
            hardware={"gpus": ["T4"]},
            command=["lorry", "run", "--token=x"],
        )
    )
    assert json.loads(json.dumps(made)) == made
    assert (made["seed"], made["model"]["revision"], made["hardware"]["gpus"]) == (7, "abc", ["T4"])
    assert made["command"] == ["lorry", "run", "--token=***"]
    assert made["time"].endswith("+00:00")
