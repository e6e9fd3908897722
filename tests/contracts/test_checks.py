"""Every check, through the same tests: what it promises, whoever wrote it."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

import lorry
from lorry import plugins
from lorry.plan import check as check_module
from lorry.plan import health
from lorry.plan import machine as machine_module
from lorry.plan.check import check
from lorry.plan.checks._base import Check
from lorry.plan.explained import explanations
from lorry.plan.findings import SEVERITIES, Finding
from lorry.plan.subject import Subject, UnavailableError
from subjects import ROWS, gpu, machine, recipe, row, subject

CODE = re.compile(r"[a-z0-9]+(\.[a-z0-9]+(-[a-z0-9]+)*)+")
NAMES = plugins.names("checks")
MAKERS = {"error", "refusal", "warning", "note", "from_error", "say", "Finding"}
TROUBLES: dict[str, dict[str, Any]] = {
    "none": {},
    "no GPU": {"hardware": machine(cpu_bf16=False), "model": {"precision": "fp16", "quantization": "nf4"}},
    "bad rows": {"rows": [*ROWS, row("", ""), "no object", row("Clean up", "rm -rf / --no-preserve-root")]},
    "no rows": {"rows": []},
    "wrong names": {"lora": {"target_modules": ["nothing"]}, "data": {"chat_template": "none.jinja"}},
    "all weights": {"lora": None, "train": {"steps": 5, "warmup": 9, "eval_every": 9}},
    "raw text": {"rows": [{"text": "some words"}] * 3, "method": "cpt"},
}


def made(name: str) -> Check:
    plugin = plugins.make("checks", name)
    assert isinstance(plugin, Check)
    return plugin


def found(name: str, given: Subject) -> list[Finding]:
    try:
        return list(made(name).run(given))
    except UnavailableError:
        return []


@pytest.mark.parametrize("name", NAMES)
def test_check_says_in_one_line_what_it_looks_at(name: str):
    assert 20 < len(type(made(name)).summary()) <= 120


@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize("name", NAMES)
def test_findings_have_a_code_a_message_and_errors_a_remedy(name: str, trouble: str, tmp_path: Path):
    for finding in found(name, subject(tmp_path, **TROUBLES[trouble])):
        assert CODE.fullmatch(finding.code), finding
        assert finding.severity in SEVERITIES
        assert finding.message
        assert not finding.message.endswith(".")
        assert all(isinstance(value, (str, bool)) for value in asdict(finding).values())
        assert finding.severity != "error" or finding.remedy, finding


@pytest.mark.parametrize("name", NAMES)
def test_check_leaves_a_missing_model_to_the_one_that_owns_it(name: str, tmp_path: Path):
    given = Subject(recipe(model={"id": "./nowhere"}), tmp_path, hardware=machine(gpu()))
    assert "model.unavailable" not in {finding.code for finding in found(name, given)} or name == "model"


@pytest.mark.parametrize("name", NAMES)
def test_check_changes_nothing_and_says_the_same_twice(name: str, tmp_path: Path):
    given = subject(tmp_path)
    _ = given.prepared
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert found(name, given) == found(name, given)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def literals(node: ast.AST) -> set[str]:
    """Every text in a piece of code."""
    return {one.value for one in ast.walk(node) if isinstance(one, ast.Constant) and isinstance(one.value, str)}


def declared_in(tree: ast.AST) -> list[ast.AST]:
    """Where explanations are declared, in a check or beside other sources of findings."""
    assigned = [one for one in ast.walk(tree) if isinstance(one, (ast.Assign, ast.AnnAssign))]
    names = [(one.targets[0] if isinstance(one, ast.Assign) else one.target) for one in assigned]
    return [
        one
        for one, name in zip(assigned, names, strict=True)
        if isinstance(name, ast.Name) and name.id.lower() == "explains"
    ]


def codes_given(tree: ast.AST) -> set[str]:
    """The codes that are written out in calls of `error`, `warning`, `note`, ..., here or in a choice of two."""
    calls = [one for one in ast.walk(tree) if isinstance(one, ast.Call)]
    makers = [
        one
        for one in calls
        if (isinstance(one.func, ast.Name) and one.func.id in MAKERS)
        or (isinstance(one.func, ast.Attribute) and one.func.attr in MAKERS)
    ]
    return {text for one in makers if one.args for text in literals(one.args[0]) if CODE.fullmatch(text)}


@pytest.mark.parametrize("name", NAMES)
def test_every_code_in_a_check_is_explained_in_it(name: str):
    tree = ast.parse(Path(inspect.getfile(type(made(name)))).read_text("utf-8"))
    assert codes_given(tree) - set(type(made(name)).explains) == set()


@pytest.mark.parametrize("module", [check_module, health, machine_module])
def test_every_code_beside_the_checks_is_explained_there(module: Any):
    tree = ast.parse(Path(module.__file__).read_text("utf-8"))
    assert codes_given(tree) - set(module.EXPLAINS) == set()


def test_every_explained_code_is_used_somewhere():
    used: set[str] = set()
    for file in Path(lorry.__file__).parent.rglob("*.py"):
        tree = ast.parse(file.read_text("utf-8"))
        declaring = {id(node) for declared in declared_in(tree) for node in ast.walk(declared)}
        outside = [node for node in ast.walk(tree) if id(node) not in declaring]
        used |= {node.value for node in outside if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    assert set(explanations()) - used == set()


def test_explanations_are_whole_sentences_and_each_code_has_one_owner():
    owners = [code for name in NAMES for code in type(made(name)).explains]
    assert sorted(owners) == sorted(set(owners))
    for code, told in explanations().items():
        assert CODE.fullmatch(code)
        assert told.means.endswith("."), code
        assert told.means[0].isupper() or told.means.startswith("`"), code
        assert all(text == "" or text.rstrip("`").endswith((".", "]'")) or text.endswith("`") for text in told), code


def test_no_check_is_without_an_owner_of_its_codes(tmp_path: Path):
    """The part of a code before the dot is shared by few checks, and no code is said by two."""
    owners: dict[str, set[str]] = {}
    for trouble, sections in TROUBLES.items():
        folder = tmp_path / trouble.replace(" ", "-")
        folder.mkdir()
        for name in NAMES:
            for finding in found(name, subject(folder, **sections)):
                owners.setdefault(finding.code, set()).add(name)
    assert {code: names for code, names in owners.items() if len(names) > 1} == {}


def test_checking_imports_no_torch(tmp_path: Path):
    subject(tmp_path)
    code = (
        "import sys\nfrom pathlib import Path\nfrom subjects import subject\nfrom lorry.plan.check import check\n"
        "check(subject(Path('.'), evaluate={'metrics': ['exact_match', 'shellcheck']}))\n"
        "print([name for name in ('torch', 'transformers', 'datasets', 'peft') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n{code}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_all_checks_together_never_raise(tmp_path: Path):
    for number, sections in enumerate(TROUBLES.values()):
        folder = tmp_path / str(number)
        folder.mkdir()
        assert "check.crashed" not in {finding.code for finding in check(subject(folder, **sections))}
