"""How a recipe writes its rewards and metrics, in short and in full, and what their Python files hold; nothing of it is run."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def as_reward(value: Any) -> Any:
    """`FILE.py:FUNCTION`, or the name of a metric, in full; anything else as it is."""
    if not isinstance(value, str):
        return value
    named = file_and_function(value)
    if named is not None:
        return {"name": "python", "file": named[0], "function": named[1]}
    return {"name": "metric", "metric": value}


def as_metric(value: Any) -> Any:
    """`FILE.py:FUNCTION`, or the name of a metric, in full; anything else as it is."""
    named = file_and_function(value) if isinstance(value, str) else None
    if named is not None:
        return {"name": "python", "file": named[0], "function": named[1]}
    return {"name": value} if isinstance(value, str) else value


def file_and_function(value: str) -> tuple[str, str] | None:
    """The parts of `FILE.py:FUNCTION`; None for what is not written so."""
    file, colon, function = value.rpartition(":")
    return (file, function) if colon and file.endswith(".py") else None


def neighbours(file: Path) -> list[Path]:
    """The Python files beside a file that it imports, and those that they import, of packages all.

    A file that is not there, or that is no Python, imports nothing.
    """
    found: dict[Path, None] = {}
    waiting = [file]
    while waiting:
        for part in _beside(file.parent, waiting.pop()):
            if part != file and part not in found:
                found[part] = None
                waiting.append(part)
    return list(found)


def _beside(folder: Path, file: Path) -> Iterator[Path]:
    """The files of a folder that a file may mean by what it imports."""
    try:
        nodes = list(ast.walk(ast.parse(file.read_bytes())))
    except (OSError, SyntaxError, ValueError, RecursionError):
        return
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level}
    for name in sorted({name.partition(".")[0] for name in names}):
        module, package = folder / f"{name}.py", folder / name
        yield from [module] if module.is_file() else []
        yield from sorted(package.rglob("*.py")) if package.is_dir() else []


def functions(file: Path) -> tuple[dict[str, bool], bool]:
    """The functions that a file defines, each with whether it is a plain one (not `async`), and whether others may be there.

    Raises SyntaxError, and OSError where it cannot be read. What is imported or assigned counts as what may be a function.
    """
    defined: dict[str, bool] = {}
    nodes: list[ast.AST] = [ast.parse(file.read_bytes(), file.name)]
    may_be: set[str] = set()
    while nodes:
        for node in ast.iter_child_nodes(nodes.pop()):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                defined[node.name] = isinstance(node, ast.FunctionDef)
            elif isinstance(node, ast.ClassDef):
                may_be.add(node.name)
            elif isinstance(node, ast.Import | ast.ImportFrom):
                may_be |= {alias.asname or alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                may_be.add(node.id)
            elif not isinstance(node, ast.Lambda):
                nodes.append(node)
    return defined | dict.fromkeys(may_be - set(defined), True), "*" in may_be
