"""Bad input, as it is typed: each kind ends with exit code 2, the error, its place and a hint, before any weights load."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from lorry.cli.main import run as lorry
from lorry.trainer.sources.model_folder import known_model_types
from model_folders import save_model
from subjects import ROWS, row

Capture = pytest.CaptureFixture[str]

RECIPE = """\
model: {id: ./tiny}
data:
  train: rows.jsonl
  max_length: 256
train:
  steps: 2
  learning_rate: 1e-4
"""
GOOD = "".join(json.dumps(one) + "\n" for one in ROWS)
HEAVY = ("torch", "transformers", "peft", "accelerate", "datasets", "bitsandbytes")


class Untouched(ModuleType):
    """A package that is installed and must not be used."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__spec__ = ModuleSpec(name, None)

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__"):  # Python's own questions about a module
            raise AttributeError(attribute)
        raise AssertionError(f"{self.__name__}.{attribute} was used")


@dataclass(frozen=True)
class Case:
    """What is wrong (files to write, the recipe's text), and what is said about it."""

    error: str
    """`place: message`, as it stands behind `error: `; its beginning or its end may be left out."""
    hint: str
    files: tuple[tuple[str, str | bytes], ...] = ()
    recipe: str = RECIPE


def _rows(*added: Any) -> tuple[tuple[str, str | bytes], ...]:
    lines = [one if isinstance(one, str) else json.dumps(one) for one in added]
    return (("rows.jsonl", GOOD + "".join(line + "\n" for line in lines)),)


def _with(old: str, new: str) -> str:
    assert old in RECIPE
    return RECIPE.replace(old, new)


def _template(text: str, error: str) -> Case:
    chosen = _with("  max_length: 256", "  max_length: 256\n  chat_template: own.jinja")
    return Case(error, "`data.chat_template`", (("own.jinja", text),), recipe=chosen)


_LONE = json.dumps({"messages": [{"role": "user", "content": "Say it"}]})
_LATIN = GOOD.encode() + json.dumps(row("caf", "x"), ensure_ascii=False).replace("caf", "café").encode("latin-1")

CASES = {
    "unknown key": Case(
        "recipe.yaml:8: train.stride: unknown key", "settings of `train`: ", recipe=RECIPE + "  stride: 2\n"
    ),
    "misspelt key": Case(
        "recipe.yaml:6: train.stpes: unknown key", "did you mean `steps`?", recipe=_with("steps", "stpes")
    ),
    "misspelt part": Case(
        "recipe.yaml:8: trian: unknown key", "did you mean `train`?", recipe=RECIPE + "trian: {steps: 3}\n"
    ),
    "wrong type": Case(
        "recipe.yaml:7: train.learning_rate: must be a number, and is `fast`",
        "`lorry recipe schema`",
        recipe=_with("1e-4", "fast"),
    ),
    "negative steps": Case(
        "recipe.yaml:6: train.steps: must be at least 1, and is `-4`",
        "`lorry recipe schema`",
        recipe=_with("steps: 2", "steps: -4"),
    ),
    "value of 10,000 characters": Case(
        "recipe.yaml:3: data.train: is longer than any file's name can be",
        "`lorry recipe schema`",
        recipe=_with("rows.jsonl", "r" * 10_000),
    ),
    "control characters": Case(
        "x\\x1b[31m.jsonl: no file matches", "looked in ", recipe=_with("rows.jsonl", '"x\\e[31m.jsonl"')
    ),
    "missing file": Case("rosw.jsonl: no such file", "did you mean `rows.jsonl`?", recipe=_with("rows.j", "rosw.j")),
    "empty data": Case("data.train: there are no rows", "the file is empty", (("rows.jsonl", ""),)),
    "empty lines": Case("data.train: there are no rows", "empty lines only", (("rows.jsonl", "\n \n\n"),)),
    "binary file": Case("rows.jsonl: not a text file in UTF-8", "rows are text", (("rows.jsonl", bytes(range(256))),)),
    "weights as data": Case("it looks like gzip", "unpack it", (("rows.jsonl", b"\x1f\x8b\x08" + bytes(99)),)),
    "utf-16": Case("it looks like UTF-16", "save it as UTF-8", (("rows.jsonl", GOOD.encode("utf-16")),)),
    "latin-1": Case("rows.jsonl:41: not UTF-8: byte 0xe9", "save it as UTF-8", (("rows.jsonl", _LATIN),)),
    "broken json": Case("rows.jsonl:41: not valid JSON: column 15", "cut off", _rows('{"messages": [')),
    "no answer": Case("rows.jsonl:41: messages: there is no assistant turn", "write the answer", _rows(_LONE)),
    "empty answer": Case(
        "rows.jsonl:41: messages[1]: an assistant turn is empty", "write the answer", _rows(row("a", " "))
    ),
    "several bad rows": Case("2 of 42 rows cannot be used", "on_bad_row=skip", _rows(row("a", ""), _LONE)),
    "template that does not compile": _template("{% if %}", "the chat template cannot be compiled: line 1"),
    "template that refuses": _template("{{ raise_exception('no!') }}", "rows.jsonl:1: the chat template fails: no!"),
    "template without answers": _template("{{ messages[0].content }}", "the chat template does not write the answer"),
    "no such model": Case(
        "model.id: no such model file or folder", "give a Hub id, a folder", recipe=_with("./tiny", "./tyni")
    ),
    "no network": Case(
        "model.id: HF_HUB_OFFLINE is set, and `owner/model` is not in the local cache",
        "connect once to fetch it",
        recipe=_with("./tiny", "owner/model"),
    ),
    "no network for rows": Case(
        "hub:owner/rows: the Hub is switched off", "check the network", recipe=_with("rows.jsonl", "hub:owner/rows")
    ),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a sound recipe, its rows and its model, in which the command runs and no torch may."""
    save_model(tmp_path / "tiny")
    (tmp_path / "rows.jsonl").write_text(GOOD)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    for name in HEAVY:
        monkeypatch.setitem(sys.modules, name, Untouched(name))
    yield tmp_path
    known_model_types.cache_clear()  # what it found while the stand-ins stood there is no more true


def prepared(folder: Path, case: Case) -> None:
    for name, content in case.files:
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    (folder / "recipe.yaml").write_text(case.recipe)


def test_sound_recipe_has_nothing_wrong_and_needs_no_torch(folder: Path, capsys: Capture):
    assert lorry(["check", "recipe.yaml"]) == 0
    assert "nothing is wrong" in capsys.readouterr().err


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_run_ends_before_it_begins(case: Case, folder: Path, lorry_home: Path, capsys: Capture):
    prepared(folder, case)
    assert lorry(["run", "recipe.yaml"]) == 2
    said = capsys.readouterr()
    error, _, hint = said.err.partition("\n\nhint: ")
    assert error.startswith("error: ")
    assert case.error in error
    assert case.hint in hint
    assert said.out == ""
    assert not (lorry_home / "runs").exists()


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_check_finds_the_same(case: Case, folder: Path, capsys: Capture):
    prepared(folder, case)
    assert lorry(["check", "recipe.yaml"]) == 2
    said = capsys.readouterr()
    shown = said.out + said.err
    assert case.error.split(": ")[-1] in shown
    assert case.hint in shown
    assert "Traceback" not in shown
    assert "crashed" not in shown


def test_no_train_extra_is_said_with_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture):
    for name in HEAVY:
        monkeypatch.setitem(sys.modules, name, None)
    for command in (["run", "recipe.yaml"], ["evaluate", "last"], ["chat", "last"], ["generate", "last", "-p", "hi"]):
        assert lorry(command) == 2, command
        error, _, hint = capsys.readouterr().err.partition("\n\nhint: ")
        assert error == "error: training needs packages that are not installed: torch, transformers, peft, accelerate"
        assert "`pip install 'lorry[train]'`" in hint


def test_full_disk_is_said_with_the_place_and_what_to_do(
    folder: Path, lorry_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
):
    full = OSError(28, "No space left on device")
    monkeypatch.setattr("lorry.data.prepare.write_json", lambda *_: (_ for _ in ()).throw(full))
    assert lorry(["run", "recipe.yaml"]) == 2
    error, _, hint = capsys.readouterr().err.partition("\n\nhint: ")
    assert error.startswith(f"error: {lorry_home}/cache/rows: the disk is full")
    assert "LORRY_HOME" in hint


@pytest.mark.parametrize(
    "name", ["sp ace.jsonl", "new\nline.jsonl", "-o.jsonl", "ünï😀.jsonl", "a'b\"c.jsonl", "[x].jsonl"]
)
def test_file_of_any_name_is_read(name: str, folder: Path, capsys: Capture):
    (folder / name).write_text(GOOD)
    (folder / "recipe.yaml").write_text(yaml.safe_dump({"model": {"id": "./tiny"}, "data": {"train": name}}))
    assert lorry(["data", "stats", "recipe.yaml", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["files"]) == [name]


@pytest.mark.parametrize(
    "arguments",
    [
        ["generate", "X", "-p", "hi"],
        ["evaluate", "X"],
        ["check", "X"],
        ["show", "X"],
        ["init", "X", "--template", "chat"],
    ],
)
def test_argument_of_10000_characters_is_no_fault(arguments: list[str], folder: Path, capsys: Capture):
    assert lorry(["x" * 10_000 if word == "X" else word for word in arguments]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert "\n\nhint: " in said


def test_every_hostile_string_can_be_a_prompt_and_an_answer(folder: Path, shared_data: Path, capsys: Capture):
    strings = json.loads((shared_data / "dirty" / "blns.json").read_text(encoding="utf-8"))
    rows = [row(f"{number} {text}", f"{text}.") for number, text in enumerate(strings)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    assert lorry(["data", "show", "recipe.yaml", "-n", "1000", "-o", "data.max_length=2048"]) == 0
    shown = capsys.readouterr().out
    assert not {char for char in shown if ord(char) < 32 and char not in "\n\t"} | {"\x7f", "\u202e"} & set(shown)


@pytest.mark.parametrize("pattern", ["csv/*", "json/n_*", "json/i_*", "json/y_*"])
def test_every_dirty_file_is_read_or_refused_with_a_place(
    pattern: str, folder: Path, shared_data: Path, capsys: Capture
):
    files = sorted((shared_data / "dirty").glob(pattern))
    assert files
    for file in files:
        code = lorry(["data", "stats", "recipe.yaml", "-o", f"data.train={file}"])
        said = capsys.readouterr().err
        assert code in (0, 2), file.name
        assert code == 0 or (file.name in said and "hint: " in said) or "data.train: there are no rows" in said, said
