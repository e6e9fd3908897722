"""Builders for tests of rehearsals: plugins of another package, models without weights, places that must stay empty."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest

import lorry
from lorry import plugins
from lorry.plan.rehearsal.outcome import Rehearsal
from model_folders import save_tokenizer, write_json
from tiny_runs import recipe

LIMIT = 300.0
"""Seconds; more than a rehearsal ever takes, on a machine that does other things."""


def rehearsed(folder: Path, *, limit: float = LIMIT, **sections: Any) -> Rehearsal:
    """A rehearsal of the recipe of `tiny_runs`, with sections laid over it."""
    values = recipe(folder, **sections)
    return lorry.rehearse(lorry.Recipe.model_validate(values), limit=limit)


def bare_model(folder: Path, **config: Any) -> dict[str, Any]:
    """A `model` section that names a folder with a configuration and a tokenizer, and no weights."""
    folder.mkdir(parents=True, exist_ok=True)
    sizes = {
        "hidden_size": 256,
        "intermediate_size": 512,
        "num_hidden_layers": 6,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "vocab_size": 300,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    write_json(folder / "config.json", {**sizes, **config})
    save_tokenizer(folder)
    return {"id": str(folder)}


def add_plugin(monkeypatch: pytest.MonkeyPatch, folder: Path, kind: str, name: str, code: str) -> None:
    """Installs a package that brings one plugin, called `Plugin` in its code, for this process and those that it starts."""
    place = folder / "site"
    about = place / f"{name}-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8")
    (about / "entry_points.txt").write_text(f"[lorry.{kind}]\n{name} = {name}:Plugin\n", encoding="utf-8")
    (place / f"{name}.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(str(place))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(place), os.environ.get("PYTHONPATH")])))
    plugins.names.cache_clear()


def use_own_tmp(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Path:
    """A folder for temporary files of this test alone."""
    place = folder / "tmp"
    place.mkdir()
    monkeypatch.setenv("TMPDIR", str(place))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return place


def left_in(home: Path) -> set[str]:
    """What lies in lorry's home beside its cache."""
    return {path.name for path in home.iterdir()} - {"cache"} if home.exists() else set()
