"""The shared hostile files: each is read right or refused clearly, none crashes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from chat_tokenizers import chat_folder
from lorry.data import files
from lorry.data.bad_rows import BadRows
from lorry.data.prepare import prepare
from lorry.data.render import Renderer
from lorry.data.rows import Origin, Row
from lorry.data.tokenizer import Tokenizer
from lorry.errors import DataError
from lorry.recipe.schema import Recipe

TWICE = ("y_object_duplicated_key.json", "y_object_duplicated_key_and_value.json")


def dirty(shared_data: Path, pattern: str) -> list[Path]:
    found = sorted((shared_data / "dirty").glob(pattern))
    assert found
    return found


def outcome(file: Path, base: Path) -> tuple[list[dict[str, Any]] | None, str]:
    """The rows and what was said about bad ones, or None and what was said in refusing the file."""
    bad = BadRows()
    try:
        return [raw for raw, _ in files.read(files.find(str(file), base), bad)], " ".join(bad.lines())
    except DataError as error:
        return None, f"{error} ({error.hint})" if error.place else ""


def test_every_json_file_is_read_right_or_refused(shared_data: Path):
    for file in dirty(shared_data, "json/*.json"):
        rows, said = outcome(file, shared_data)
        if file.name.startswith("n_"):
            assert not rows, file.name
        if not rows:
            assert said, file.name
        elif not file.name.startswith("i_"):
            assert _agrees(rows, json.loads(file.read_bytes())), file.name


def test_every_valid_value_survives_within_a_row(shared_data: Path, tmp_path: Path):
    lines: list[bytes] = []
    for file in dirty(shared_data, "json/y_*.json"):
        content = file.read_bytes().strip().replace(b"\r\n", b" ").replace(b"\n", b" ")
        if file.name not in TWICE:
            lines.append(b'{"value": ' + content + b"}")
    (tmp_path / "all.jsonl").write_bytes(b"\n".join(lines))
    rows, said = outcome(tmp_path / "all.jsonl", tmp_path)
    assert said == ""
    assert rows == [json.loads(line) for line in lines]


def test_every_invalid_value_costs_only_its_own_row(shared_data: Path, tmp_path: Path):
    bad_files = [file for file in dirty(shared_data, "json/n_*.json") if b"\n" not in file.read_bytes().strip()]
    lines = [b'{"value": ' + file.read_bytes().strip() + b"}" for file in bad_files]
    lines = [line for line in lines if b"\x00" not in line and not line.startswith(b"\xff")]
    padded = [entry for line in lines for entry in (line, b'{"good": 1}')]
    (tmp_path / "all.jsonl").write_bytes(b"\n".join(padded))
    bad = BadRows()
    rows = [raw for raw, _ in files.read(files.find("all.jsonl", tmp_path), bad)]
    good = sum(row == {"good": 1} for row in rows)
    assert good == len(lines)
    assert bad.count + len(rows) == len(padded)
    assert bad.count > 150


def test_every_csv_file_gives_the_expected_rows(shared_data: Path):
    for file in dirty(shared_data, "csv/*.csv"):
        rows, said = outcome(file, shared_data)
        assert said == ""
        expected = json.loads(file.with_suffix(".json").read_bytes())
        if b"\r" not in file.read_bytes():
            # The set's own Windows line ends were lost on its way here.
            expected = [{key: value.replace("\r\n", "\n") for key, value in row.items()} for row in expected]
        assert rows == expected, file.name


def test_every_naughty_string_survives_rendering(shared_data: Path, tmp_path: Path):
    strings: list[str] = json.loads((shared_data / "dirty/blns.json").read_bytes())
    renders = Renderer(Tokenizer.open(chat_folder(tmp_path, "llama3")), 100_000)
    rows = [_chat(text, text) for text in strings]
    for text, result in zip(strings, renders.chats(rows), strict=True):
        assert not isinstance(result, DataError)
        shown = renders.tokenizer.decode(result.ids.tolist(), skip_special_tokens=False)
        assert shown.count(text.strip()) >= 2 or not text.strip()


def test_naughty_strings_prepare_and_come_back_as_answers(shared_data: Path, tmp_path: Path):
    strings: list[str] = [text for text in json.loads((shared_data / "dirty/blns.json").read_bytes()) if text.strip()]
    rows = [{"prompt": f"repeat {index}", "completion": text} for index, text in enumerate(strings)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    recipe = Recipe.model_validate({"model": {"id": "m"}, "data": {"train": "rows.jsonl", "max_length": 8192}})
    prepared = prepare(recipe, tmp_path, Tokenizer.open(chat_folder(tmp_path / "model", "chatml")))
    truths = {task.messages[0]["content"]: task.truth for split in ("train", "eval") for task in prepared.tasks(split)}
    assert truths == {row["prompt"]: row["completion"] for row in rows}


def _agrees(rows: list[dict[str, Any]], value: Any) -> bool:
    if isinstance(value, dict):
        held = [entry for entry in value.values() if isinstance(entry, list)]
        return rows == [value] or rows in held
    return rows == [entry for entry in value if isinstance(entry, dict)]


def _chat(asked: str, answer: str) -> Row:
    return Row(Origin("a", 1), messages=[{"role": "user", "content": asked}, {"role": "assistant", "content": answer}])
