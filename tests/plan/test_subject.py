from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from lorry.errors import ModelError
from lorry.plan.subject import Subject, UnavailableError
from lorry.trainer.sources.tensors import tensors
from subjects import machine, recipe, subject


def test_part_is_made_once_for_all_threads(tmp_path: Path):
    made = subject(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        parts = list(pool.map(lambda _: made.prepared, range(8)))
    assert all(part is parts[0] for part in parts)


def test_missing_part_says_why_to_each_who_asks(tmp_path: Path):
    made = Subject(recipe(model={"id": "./nowhere"}), tmp_path)
    for _ in range(2):
        with pytest.raises(UnavailableError, match="the model cannot be had") as caught:
            _ = made.prepared
        assert (caught.value.part, type(caught.value.cause)) == ("source", ModelError)


def test_part_that_is_given_is_not_made(tmp_path: Path):
    given = machine()
    assert Subject(recipe(), tmp_path, hardware=given).hardware is given


def test_method_is_the_recipes(tmp_path: Path):
    assert Subject(recipe(method={"name": "cpt"}), tmp_path).method.accepts == {"text"}


def without_weights(folder: Path, **changes: Any) -> Subject:
    """A subject whose model has no weights yet, and other settings in its config.json."""
    made = subject(folder)
    (folder / "tiny" / "model.safetensors").unlink()
    config = folder / "tiny" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), **changes}))
    return made


def test_tensors_of_a_model_without_weights_are_those_of_its_configuration(tmp_path: Path):
    stored = tensors(subject(tmp_path).source.folder) or {}
    found = without_weights(tmp_path).tensors or {}
    assert {name: tensor.shape for name, tensor in found.items()} == {name: one.shape for name, one in stored.items()}


def test_tensors_of_an_architecture_that_only_the_weights_can_tell_are_none(tmp_path: Path):
    assert without_weights(tmp_path, model_type="mamba").tensors is None
