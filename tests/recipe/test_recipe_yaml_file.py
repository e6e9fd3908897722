from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from lorry.errors import RecipeError
from lorry.recipe.load import load
from lorry.recipe.yaml_file import MOST_BYTES, dump, parse, parse_value

BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join(['*' + old] * 10)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


def refused(folder: Path, content: bytes | str) -> RecipeError:
    file = folder / "recipe.yaml"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(RecipeError) as caught:
        load(file)
    assert "recipe.yaml" in caught.value.place
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E5", 1e5),
        ("-2.5e+3", -2500.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("007", 7),
        ("0x1F", 31),
        ("0o17", 15),
        ("yes", "yes"),
        ("on", "on"),
        ("2024-01-01", "2024-01-01"),
        ("1:30", "1:30"),
        ("1e", "1e"),
        ("'1e-4'", "1e-4"),
        ("true", True),
        ("~", None),
        ("", None),
        ("[a, {b: 1}]", ["a", {"b": 1}]),
        ("-.inf", float("-inf")),
    ],
)
def test_value_is_read_as_yaml_1_2_reads_it(text: str, value: Any):
    read = parse_value(text, "-o")
    assert read == value
    assert type(read) is type(value)


def test_each_key_and_item_knows_its_line():
    layer = parse("a:\n  b: 1\n  c:\n    - x\n    - y\n", "f.yaml")
    assert layer.values == {"a": {"b": 1, "c": ["x", "y"]}}
    assert layer.places[("a", "b")] == "f.yaml:2"
    assert layer.places[("a", "c", 1)] == "f.yaml:5"


def test_anchor_and_merge_key_work_and_own_keys_win():
    layer = parse("base: &b {x: 1, y: 2}\nmine:\n  y: 3\n  <<: *b\n", "f.yaml")
    assert layer.values["mine"] == {"x": 1, "y": 3}


def test_key_given_twice_is_refused_with_both_lines(tmp_path: Path):
    error = refused(tmp_path, "model: {id: a}\ndata:\n  train: x\n  eval: y\n  train: z\n")
    assert error.place.endswith(":5")
    assert "line 3" in error.hint


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "empty"),
        ("# only a comment\n", "empty"),
        ("\n\n---\n", "empty"),
        ("- a\n- b\n", "a list"),
        ("just words", "a single value"),
        ("42", "a single value"),
        ("a: b: c", "no valid YAML"),
        ("a: [1, 2", "no valid YAML"),
        ("a: 'open", "no valid YAML"),
        ("a:\n\t- b", "no valid YAML"),
        ("a: 1\n---\nb: 2\n", "no valid YAML"),
        ("a: *nowhere", "no valid YAML"),
        ("%YAML 9.9\n---\na: 1", "no valid YAML"),
        ("a: !!python/object/apply:os.system [id]", "not allowed"),
        ("a: !!binary aGk=", "not allowed"),
        ("a: !!set {x}", "not allowed"),
        ("a: !custom {x: 1}", "not allowed"),
        ("a: !!int abc", "cannot be read as int"),
        ("a: !!bool abc", "cannot be read as bool"),
        ("a: " + "9" * 5000, "cannot be read as int"),
        ("? [a, b]\n: 1", "a name is text"),
        ("<<: 5", "takes a mapping"),
        ('a: "\\0"', "character"),
        ('a: "\\ud800"', "character"),
        ("a: \x07", "U+0007"),
        ("a: &a [*a]", "endless"),
        ("a: &a\n  <<: *a", "endless"),
        (BOMB, "endless"),
        ("[" * 3000, "nested too deeply"),
        ("a: " + "[" * 200 + "]" * 200, "endless"),
        ("{" * 3000, "nested too deeply"),
    ],
)
def test_hostile_text_is_refused_with_place_and_hint(tmp_path: Path, content: str, says: str):
    assert says in refused(tmp_path, content).message


def test_latin1_file_is_refused_with_its_line(tmp_path: Path):
    error = refused(tmp_path, "a: 1\nname: caf\xe9\n".encode("latin1"))
    assert error.place.endswith(":2")
    assert "UTF-8" in error.message


@pytest.mark.parametrize("content", [b"\x7fELF\0\0\1", b"GGUF\3\0\0\0", bytes(range(256)), b"\0"])
def test_binary_file_is_refused(tmp_path: Path, content: bytes):
    assert "binary" in refused(tmp_path, content).message


def test_utf16_file_is_refused(tmp_path: Path):
    assert "UTF-16" in refused(tmp_path, "a: 1".encode("utf-16")).message


def test_file_with_byte_order_mark_and_windows_lines_loads(tmp_path: Path):
    file = tmp_path / "recipe.yaml"
    file.write_bytes(b"\xef\xbb\xbfmodel:\r\n  id: a/b\r\ndata:\r\n  train: x\r\n")
    assert load(file).recipe.model.id == "a/b"


def test_data_file_given_as_recipe_is_refused_by_its_size(tmp_path: Path):
    assert "too large" in refused(tmp_path, "x" * (MOST_BYTES + 1)).message


def test_missing_file_is_refused_and_names_one_that_is_there(tmp_path: Path):
    (tmp_path / "demo.yaml").write_text("a: 1")
    with pytest.raises(RecipeError, match="does not exist") as caught:
        load(tmp_path / "demmo.yaml")
    assert "demo.yaml" in caught.value.hint


def test_folder_is_refused(tmp_path: Path):
    with pytest.raises(RecipeError, match="folder"):
        load(tmp_path)


@pytest.mark.parametrize("name", ["a\0b.yaml", "x" * 300 + ".yaml", "recipe.yaml/inner.yaml"])
def test_name_that_no_file_can_have_is_refused(tmp_path: Path, name: str):
    (tmp_path / "recipe.yaml").write_text("a: 1")
    with pytest.raises(RecipeError):
        load(tmp_path / name)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads everything")
def test_file_without_permission_is_refused(tmp_path: Path):
    file = tmp_path / "recipe.yaml"
    file.write_text("a: 1")
    file.chmod(0)
    with pytest.raises(RecipeError, match="cannot be read"):
        load(file)


@pytest.mark.parametrize(
    "value", ["1e-4", "yes", "null", "2024-01-01", "0x1F", "~", "<<", "a: b", "é\n'\"", "", 1e-5, 2.5e20, True, None]
)
def test_what_is_dumped_is_read_back(value: Any):
    assert parse(dump({"key": value}), "f").values == {"key": value}


def test_naughty_strings_are_refused_or_kept_as_they_are(shared_data: Path, tmp_path: Path):
    for text in json.loads((shared_data / "dirty" / "blns.json").read_text("utf-8")):
        file = tmp_path / "recipe.yaml"
        file.write_text(dump({"name": text, "model": {"id": "a/b"}, "data": {"train": "x"}}), encoding="utf-8")
        assert load(file).recipe.name == text


def test_malformed_json_files_are_never_a_traceback(shared_data: Path):
    for file in sorted((shared_data / "dirty" / "json").glob("*.json")):
        with pytest.raises(RecipeError):
            load(file)
