from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chat_tokenizers import chat_folder, turns
from fake_hub import hub
from lorry.data import files
from lorry.data.bad_rows import BadRows
from lorry.data.prepare import prepare
from lorry.data.tokenizer import Tokenizer
from lorry.errors import DataError
from lorry.recipe.schema import Recipe


@pytest.fixture(autouse=True)
def nobody_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lorry.network._Memory.given_up", {})


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    folder = tmp_path / "served/ann/cards"
    folder.mkdir(parents=True)
    with hub(tmp_path / "served") as endpoint:
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        yield folder


def add(repo: Path, name: str, *answers: str) -> None:
    rows = [{"messages": turns("find", answer)} for answer in answers]
    file = repo / name
    file.parent.mkdir(parents=True, exist_ok=True)
    if name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(rows), file)
    else:
        file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")


def answers(name: str) -> list[str]:
    rows = [raw for raw, _ in files.read(files.find(name, Path()), BadRows())]
    return [row["messages"][1]["content"] for row in rows]


def refused(name: str) -> DataError:
    with pytest.raises(DataError) as caught:
        answers(name)
    assert caught.value.hint
    return caught.value


def test_split_is_found_by_the_names_of_files(repo: Path):
    add(repo, "data/train-00000-of-00002.parquet", "a")
    add(repo, "data/train-00001-of-00002.parquet", "b")
    add(repo, "data/test-00000-of-00001.parquet", "c")
    (repo / "README.md").write_text("---\nlicense: mit\n---\n# Cards")
    assert answers("hub:ann/cards") == ["a", "b"]
    assert answers("hub:ann/cards:test") == ["c"]


def test_split_is_found_by_the_names_of_folders_and_by_other_words_for_it(repo: Path):
    add(repo, "train/rows.jsonl", "a")
    add(repo, "dev/rows.jsonl", "b")
    assert answers("hub:ann/cards") == ["a"]
    assert answers("hub:ann/cards:validation") == ["b"]


def test_files_without_a_split_are_training_rows(repo: Path):
    add(repo, "cards.jsonl", "a")
    assert answers("hub:ann/cards:train") == ["a"]
    assert "there are: train" in refused("hub:ann/cards:test").hint


def test_readme_decides_over_names(repo: Path):
    add(repo, "x/one.jsonl", "a")
    add(repo, "x/two.jsonl", "b")
    add(repo, "train.jsonl", "c")
    files_named = [{"split": "train", "path": ["x/*.jsonl"]}, {"split": "test", "path": "train.jsonl"}]
    readme(repo, [{"config_name": "default", "data_files": files_named}])
    assert answers("hub:ann/cards") == ["a", "b"]
    assert answers("hub:ann/cards:test") == ["c"]


def test_parts_are_named_when_there_are_several(repo: Path):
    add(repo, "en/train.jsonl", "a")
    add(repo, "de/train.jsonl", "b")
    readme(repo, [{"config_name": "en", "data_files": "en/train.jsonl"}, {"config_name": "de", "data_dir": "de"}])
    assert "hub:ann/cards:en/train" in refused("hub:ann/cards").hint
    assert answers("hub:ann/cards:en/train") == ["a"]
    assert answers("hub:ann/cards:de/train") == ["b"]
    refused("hub:ann/cards:fr/train")


def test_rows_know_their_file_and_files_their_hash(repo: Path):
    import hashlib

    add(repo, "train.parquet", "a", "b")
    (blob,) = files.find("hub:ann/cards", Path())
    assert blob.digest() == hashlib.sha256((repo / "train.parquet").read_bytes()).hexdigest()
    assert [str(origin) for _, origin in files.read([blob], BadRows())][1] == "hub:ann/cards/train.parquet:2"


def test_data_set_is_prepared_and_bad_rows_named(repo: Path, tmp_path: Path):
    add(repo, "train.jsonl", "a", "b", " ")
    recipe: dict[str, Any] = {
        "model": {"id": "m"},
        "data": {"train": "hub:ann/cards", "on_bad_row": "skip", "eval_split": 0},
    }
    prepared = prepare(Recipe.model_validate(recipe), tmp_path, Tokenizer.open(chat_folder(tmp_path / "m", "chatml")))
    assert len(prepared.train) == 2
    assert prepared.facts.bad_row_lines[0].startswith("hub:ann/cards/train.jsonl:3: messages[1]")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("hub:ann/other", "no such data set"),
        ("hub:ann/cards@v9", "no such"),
        ("hub:cards", "not the name"),
        ("hub:ann/cards/x/y", "not the name"),
    ],
)
def test_what_is_not_there_is_said(repo: Path, name: str, says: str):
    add(repo, "train.jsonl", "a")
    assert says in refused(name).message


def test_data_set_that_is_a_program_is_not_run(repo: Path):
    (repo / "cards.py").write_text("raise SystemExit")
    assert "program" in refused("hub:ann/cards").message


def test_hub_that_fails_twice_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    pauses: list[float] = []
    monkeypatch.setattr("lorry.network.time.sleep", pauses.append)
    folder = tmp_path / "served/ann/cards"
    folder.mkdir(parents=True)
    add(folder, "train.jsonl", "a")
    with hub(tmp_path / "served", failing := [503, 502]) as endpoint:
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        assert answers("hub:ann/cards") == ["a"]
    assert (failing, pauses) == ([], [1.0, 2.0])


def test_reading_goes_on_where_it_broke_off(monkeypatch: pytest.MonkeyPatch):
    from lorry.data.readers.hub import _Remote

    monkeypatch.setattr("lorry.network.PAUSES", (0.0, 0.0, 0.0))
    file = Flaky(bytes(range(250)), breaks=[3, 4, 9])
    reader = io.BufferedReader(_Remote(file, "x"), 16)
    assert b"".join(iter(lambda: reader.read(16), b"")) == bytes(range(250))
    assert file.breaks == []


class Flaky(io.BytesIO):
    """A connection that breaks at the numbered reads, after it has taken some bytes."""

    def __init__(self, content: bytes, breaks: list[int]) -> None:
        super().__init__(content)
        self.breaks, self.reads = breaks, 0

    def read(self, size: int | None = -1) -> bytes:
        self.reads += 1
        got = super().read(size)
        if self.reads in self.breaks:
            self.breaks.remove(self.reads)
            raise ConnectionError("broken")
        return got


def test_no_network_is_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("lorry.network.PAUSES", (0.0, 0.0, 0.0))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert "cannot be reached" in refused("hub:ann/cards").message


def test_hub_switched_off_is_said():
    assert "HF_HUB_OFFLINE" in refused("hub:ann/cards").message


def readme(repo: Path, configs: list[dict[str, Any]]) -> None:
    (repo / "README.md").write_text(f"---\nconfigs: {json.dumps(configs)}\n---\n# Cards")


def rendered(folder: Path, name: str) -> Any:
    recipe = Recipe.model_validate({"model": {"id": "x"}, "data": {"train": name, "eval_split": 0, "max_length": 512}})
    return prepare(recipe, folder, Tokenizer.open(chat_folder(folder / "model", "chatml")))


def test_rows_rendered_before_serve_when_the_hub_is_gone_and_that_is_said(repo: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("lorry.network.PAUSES", (0.0, 0.0, 0.0))
    add(repo, "train.jsonl", "one", "two")
    first = rendered(tmp_path, "hub:ann/cards")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    again = rendered(tmp_path, "hub:ann/cards")
    assert again.folder == first.folder
    assert any("as it was when its rows were rendered here" in note for note in again.facts.notes)
    assert not any("cannot be reached" in note for note in first.facts.notes)


def test_files_known_but_not_rendered_are_an_error_when_the_hub_is_gone(repo: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("lorry.network.PAUSES", (0.0, 0.0, 0.0))
    add(repo, "train.jsonl", "one", "two")
    files.find("hub:ann/cards", Path())
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DataError, match="cannot be reached"):
        rendered(tmp_path, "hub:ann/cards")


def test_damaged_memory_of_a_listing_counts_as_none(repo: Path, tmp_path: Path, monkeypatch):
    from lorry.data.readers import hub_listing

    add(repo, "train.jsonl", "one")
    files.find("hub:ann/cards", Path())
    hub_listing._place("hub:ann/cards").write_text("[{")
    assert hub_listing.remembered("hub:ann/cards", io.BytesIO) == []
