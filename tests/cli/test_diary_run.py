"""The diary of the README: entries to rows, rows to an adapter, the adapter to a report, with one command each."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

import tiny_runs
from conversions import diary
from lorry.cli.main import run
from lorry.track.store import Store
from model_folders import save_model

Capture = pytest.CaptureFixture[str]


def test_a_diary_becomes_rows_an_adapter_and_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture):
    monkeypatch.chdir(tmp_path)
    save_model(tmp_path / "model", max_position_embeddings=2048)
    tiny_runs.write_rows(tmp_path / "diary.jsonl", diary(16))
    recipe = tiny_runs.recipe(tmp_path, data={"train": "rows.jsonl", "eval": "rows.test.jsonl", "max_length": 1024})
    Path("recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")

    assert run(["data", "convert", "diary.jsonl", "--out", "rows.jsonl", "--test", "0.3"]) == 0
    assert run(["run", "recipe.yaml", "--yes"]) == 0
    capsys.readouterr()
    assert run(["report", "last"]) == 0

    told = capsys.readouterr().out
    assert "adapter" in told
    (row,) = Store.open().list()
    folder = Path(row.folder)
    assert row.status == "finished"
    assert (folder / "adapter" / "adapter_model.safetensors").is_file()
    assert "rows.jsonl" in (folder / "provenance.json").read_text(encoding="utf-8")
    samples = [
        json.loads(line) for line in (folder / "eval" / "samples.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert "You are the writer of this diary." in json.dumps(samples)
