"""Benchmarks are run by hand and seldom: what they take from lorry must still be there."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
SCRIPTS = sorted((TOP / "benchmarks").rglob("*.py"))


def taken(script: Path) -> Iterator[tuple[str, str]]:
    """Module and name of everything that a script takes from lorry, inside functions too."""
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "lorry":
            yield from ((str(node.module), alias.name) for alias in node.names)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.relative_to(TOP).as_posix())
def test_benchmark_takes_only_what_there_is(script: Path):
    for module, name in taken(script):
        if not hasattr(importlib.import_module(module), name):
            importlib.import_module(f"{module}.{name}")
