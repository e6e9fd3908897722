"""Python recipes: a `.py` file whose `config` is a Recipe, a dictionary, or a dataclass or attrs object.

Reading one runs it. While it runs, its folder, a `configs` folder above it and the folder that holds that one can be
imported from; afterwards neither they nor the modules that came from them are left behind.
"""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import sys
import traceback
from collections.abc import Generator, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import ValidationError

from lorry.errors import RecipeError
from lorry.recipe.layer import Layer, home_of
from lorry.recipe.translate import translate
from lorry.recipe.yaml_file import read_text


def read(path: Path) -> tuple[Layer, list[Path]]:
    """The file's layer, and the folders from which its paths may start: its own, then those around `configs`.

    Raises RecipeError, with `file:line`, for whatever goes wrong in the file.
    """
    path = path.absolute()
    folders = _folders(path)
    with _importable(folders), contextlib.redirect_stdout(sys.stderr):
        module = _run(path, folders)
        lines = _Lines([path, *_loaded_from(folders)])
        if not hasattr(module, "config"):
            hint = "end the file with `config = ...`: a Recipe, a dictionary, or a dataclass or attrs object"
            raise RecipeError("a Python recipe defines `config`, and this one does not", place=home_of(path), hint=hint)
        try:
            layer = translate(module.config, lines.place, home_of(path))
        except RecipeError:
            raise
        except Exception as error:  # whatever the objects of a foreign file do when they are looked at
            raise _failed(error, path, folders) from error
    return layer, folders


class _Lines:
    """Finds the line that gives a name, in the recipe first and then in what it imported."""

    def __init__(self, files: list[Path]) -> None:
        self._file = home_of(files[0])
        self._lines: dict[str, str] = {}
        for file in files:
            with contextlib.suppress(SyntaxError, ValueError, RecipeError):
                for name, line in _assigned(ast.parse(read_text(file))):
                    self._lines.setdefault(name, f"{home_of(file)}:{line}")

    def place(self, name: str) -> str:
        return self._lines.get(name, self._file)


def _assigned(tree: ast.AST) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        match node:
            case ast.keyword(arg=str(name)):
                yield name, node.value.lineno
            case ast.Name(id=name, ctx=ast.Store()):
                yield name, node.lineno
            case ast.Dict():
                for key in node.keys:
                    if isinstance(key, ast.Constant) and isinstance(key.value, str):
                        yield key.value, key.lineno
            case _:
                pass


def _folders(path: Path) -> list[Path]:
    """The file's folder, and for a file under `configs` that folder and the one that holds it."""
    above = next((folder for folder in path.parents if folder.name == "configs"), None)
    folders = [path.parent] if above is None else [path.parent, above, above.parent]
    return list(dict.fromkeys(folders))


def _run(path: Path, folders: list[Path]) -> ModuleType:
    name = ".".join(path.relative_to(folders[-1]).with_suffix("").parts) if len(folders) > 1 else path.stem
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise RecipeError("Python cannot import this file", place=home_of(path), hint="give it a name that ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their own module up there
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise _failed(error, path, folders) from error
    return module


def _failed(error: BaseException, path: Path, folders: list[Path]) -> RecipeError:
    """What went wrong in somebody's file, at the last line of theirs that was running."""
    place = home_of(path)
    if isinstance(error, SyntaxError) and error.filename:
        place = f"{home_of(Path(error.filename))}:{error.lineno}"
    else:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_within(frame.filename, folders)]
        if frames:
            place = f"{home_of(Path(frames[-1].filename))}:{frames[-1].lineno}"
    hint = "the file runs by itself with `python " + home_of(path) + "`, which shows the whole error"
    if isinstance(error, ModuleNotFoundError):
        hint = f"install `{error.name}` beside lorry, or have the recipe do without; it can import from `configs`"
    return RecipeError(f"{type(error).__name__}: {_first_lines(error)}", place=place, hint=hint)


def _first_lines(error: BaseException) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}" for detail in error.errors())
    if isinstance(error, SyntaxError):
        return error.msg
    return str(error)[:500]


@contextlib.contextmanager
def _importable(folders: list[Path]) -> Generator[None]:
    """Lets the code in a block import from `folders`, and puts everything back as it was."""
    path, writes_bytecode = list(sys.path), sys.dont_write_bytecode
    before = dict(sys.modules)
    for name in _shadowed(folders):
        del sys.modules[name]
    sys.path[:0] = [str(folder) for folder in folders]
    sys.dont_write_bytecode = True
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = path
        sys.dont_write_bytecode = writes_bytecode
        for name in [name for name, module in sys.modules.items() if _is_theirs(name, module, folders)]:
            del sys.modules[name]
        for name in [name for name in before if name not in sys.modules]:
            sys.modules[name] = before[name]


def _shadowed(folders: list[Path]) -> list[str]:
    """Imported modules, such as another project's `configs`, whose names mean something else in these folders.

    Only those that recipes import from each other: a folder of theirs may well hold a `json.py`.
    """
    tops = {"configs"} | {file.stem for folder in folders if folder.name == "configs" for file in folder.glob("*.py")}
    tops -= set(sys.stdlib_module_names)
    return [name for name in sys.modules if name.partition(".")[0] in tops and name.partition(".")[0] != "lorry"]


def _loaded_from(folders: list[Path]) -> list[Path]:
    files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    return [Path(file) for file in files if file and _is_within(file, folders) and file.endswith(".py")]


def _is_theirs(name: str, module: Any, folders: list[Path]) -> bool:
    if name.partition(".")[0] in {"lorry", *sys.stdlib_module_names}:
        return False
    file = getattr(module, "__file__", None)
    places = [file] if file else [str(place) for place in getattr(module, "__path__", None) or ()]
    return any(_is_within(place, folders) for place in places)


def _is_within(file: str, folders: list[Path]) -> bool:
    """Whether a file belongs to the recipe's folders; what is installed below them (an environment) does not."""
    path = Path(file)
    return any(path.is_relative_to(folder) for folder in folders) and "site-packages" not in path.parts
