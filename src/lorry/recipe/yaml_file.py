"""Reads a recipe's YAML: values, and the line of each key.

Numbers are read as YAML 1.2 reads them, so `1e-4` is a number, and `on`, `yes` and dates stay text.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from lorry.errors import RecipeError
from lorry.recipe.layer import Keys, Layer, home_of, show

MOST_BYTES = 262_144
"""A longer file is no recipe: most likely data or weights, given by mistake."""
_MOST_VALUES = 20_000
_DEEPEST = 50
_CORE = "tag:yaml.org,2002:"


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: Any = {}  # noqa: RUF012 - PyYAML's own table, one for each loader


class _Dumper(yaml.SafeDumper):
    """Puts text in quotes that YAML 1.1 or 1.2 would read as something else, and writes everything out."""

    def ignore_aliases(self, data: Any) -> bool:
        """Always: what is the same twice stands there twice."""
        del data
        return True


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    """Text of several lines as a block, which people can read."""
    style = None if "\n" not in text else "|" if "\n" in text.strip("\n") else '"'
    return dumper.represent_scalar(_CORE + "str", text, style=style)


_Dumper.add_representer(str, _text)

for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", list("-+.0123456789")),
    ("float", r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", list("-+.")),
    ("merge", r"<<", ["<"]),
):
    for _kind_of in (_Loader, _Dumper):
        _kind_of.add_implicit_resolver(_CORE + _tag, re.compile(f"(?:{_pattern})$"), _first)


def read_text(path: Path) -> str:
    """The file's text. Raises RecipeError for what is no readable UTF-8 text file."""
    file = home_of(path)
    try:
        if path.is_dir():
            raise RecipeError("this is a folder, not a recipe", place=file, hint=_first_recipe(path))
        if path.is_file() and path.stat().st_size > MOST_BYTES:
            raise RecipeError(
                f"too large for a recipe ({path.stat().st_size:,} bytes)",
                place=file,
                hint="a recipe is a short YAML file that names data and model; `lorry init` writes one",
            )
        with path.open("rb") as stream:
            raw = stream.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise RecipeError("saved as UTF-16", place=file, hint="save it as UTF-8")
    if b"\0" in raw:
        raise RecipeError("a binary file, not a recipe", place=file, hint="`lorry init` writes a recipe to start from")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        hint = f"save it as UTF-8, for example: `iconv -f latin1 -t utf-8 {path.name}`"
        raise RecipeError("not UTF-8 text", place=f"{file}:{line}", hint=hint) from error


def parse(text: str, file: str) -> Layer:
    """A recipe's text as a layer. Raises RecipeError, with `file:line`, for what is no mapping of names to values."""
    root = _compose(text, file)
    if root is None or root.tag == _CORE + "null":
        raise RecipeError("the recipe is empty", place=file, hint="`lorry init` writes one to start from")
    if not isinstance(root, yaml.MappingNode):
        hint = "a recipe starts with names such as `model:` and `data:`"
        raise RecipeError(f"a recipe is a mapping, and this is {_kind(root)}", place=_at(file, root), hint=hint)
    reader = _Reader(file)
    return Layer(reader.value(root, (), 0), reader.places)


def parse_value(text: str, place: str) -> Any:
    """One value as a recipe would hold it: `1e-4`, `null`, `[a, b]`. Raises RecipeError."""
    root = _compose(text, place)
    return None if root is None else _Reader(place).value(root, (), 0)


def dump(values: dict[str, Any]) -> str:
    """YAML that `parse` reads back as the same values."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


class _Reader:
    """Turns nodes into values; counts them, for a few aliases can stand for billions."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.places: dict[Keys, str] = {}
        self._seen = 0

    def value(self, node: Any, keys: Keys, depth: int) -> Any:
        self._seen += 1
        if self._seen > _MOST_VALUES or depth > _DEEPEST:
            raise self._error(node, "aliases or nesting make this recipe endless", "write the values out")
        if isinstance(node, yaml.MappingNode):
            self._only(node, "map")
            return self._mapping(node, keys, depth)
        if isinstance(node, yaml.SequenceNode):
            self._only(node, "seq")
            return [self._item(item, (*keys, number), depth) for number, item in enumerate(node.value)]
        return self._scalar(node)

    def _mapping(self, node: Any, keys: Keys, depth: int) -> dict[str, Any]:
        values: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key, below in self._own_pairs_last(node):
            if key.tag == _CORE + "merge":
                values |= self._merged(below, keys, depth)
                continue
            name = self._name(key)
            if name in lines:
                hint = f"`{name}` stands in line {lines[name]} too; keep one of them"
                raise self._error(key, f"`{name}` is given twice", hint)
            lines[name] = key.start_mark.line + 1
            self.places[(*keys, name)] = _at(self.file, key)
            values[name] = self.value(below, (*keys, name), depth + 1)
        return values

    def _own_pairs_last(self, node: Any) -> list[tuple[Any, Any]]:
        """A mapping's own keys override those merged with `<<`, wherever it stands."""
        return sorted(node.value, key=lambda pair: pair[0].tag != _CORE + "merge")

    def _merged(self, node: Any, keys: Keys, depth: int) -> dict[str, Any]:
        parts = node.value[::-1] if isinstance(node, yaml.SequenceNode) else [node]
        merged: dict[str, Any] = {}
        for part in parts:
            if not isinstance(part, yaml.MappingNode):
                raise self._error(part, "`<<` takes a mapping", "point it at an anchor of a mapping: `<<: *name`")
            merged |= self.value(part, keys, depth + 1)
        return merged

    def _item(self, node: Any, keys: Keys, depth: int) -> Any:
        self.places[keys] = _at(self.file, node)
        return self.value(node, keys, depth + 1)

    def _name(self, node: Any) -> str:
        if not isinstance(node, yaml.ScalarNode):
            raise self._error(node, f"a name is text, and this is {_kind(node)}", "write `name: value`")
        return self._text(node)

    def _scalar(self, node: Any) -> Any:
        kind = str(node.tag).removeprefix(_CORE)
        text = self._text(node)
        try:
            match kind:
                case "null":
                    return None
                case "bool":
                    return _boolean(text)
                case "int":
                    return int(text, 0) if text[:2] in {"0o", "0x"} else int(text)
                case "float":
                    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
                case "str" | "merge":
                    return text
                case _:
                    raise self._error(node, f"the tag `{show(node.tag)}` is not allowed", "write a plain value")
        except ValueError as error:
            raise self._error(node, f"`{show(text)}` cannot be read as {kind}", "put text in quotes") from error

    def _text(self, node: Any) -> str:
        text = str(node.value)
        if "\0" in text or any("\ud800" <= char <= "\udfff" for char in text):
            raise self._error(node, "text holds a character that no file name or prompt can have", "remove the escape")
        return text

    def _only(self, node: Any, kind: str) -> None:
        if node.tag != _CORE + kind:
            raise self._error(node, f"the tag `{show(node.tag)}` is not allowed", "write plain lists and mappings")

    def _error(self, node: Any, message: str, hint: str) -> RecipeError:
        return RecipeError(message, place=_at(self.file, node), hint=hint)


def _compose(text: str, file: str) -> Any:
    try:
        return yaml.compose(text, Loader=_Loader)
    except yaml.reader.ReaderError as error:
        place = f"{file}:{text.count(chr(10), 0, error.position) + 1}"
        code = ord(text[error.position])
        raise RecipeError(f"YAML does not allow the character U+{code:04X}", place=place, hint="remove it") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{file}:{mark.line + 1}" if mark else file
        raise RecipeError(f"no valid YAML: {error.problem or error.context}", place=place, hint=_hint(error)) from error
    except RecursionError as error:
        raise RecipeError("nested too deeply", place=file, hint="write the values out") from error


def _hint(error: yaml.MarkedYAMLError) -> str:
    problem = str(error.problem)
    if "\\t" in problem:
        return "YAML is indented with spaces, not tabs"
    if "mapping values are not allowed" in problem:
        return "text that holds `: ` needs quotes, and keys of one section the same indentation"
    if "another document" in problem or "document" in str(error.context):
        return "a file holds one recipe: remove the second `---`"
    return "check indentation, quotes and brackets in this line and the one before"


def _boolean(text: str) -> bool:
    if text.lower() not in {"true", "false"}:
        raise ValueError(text)
    return text.lower() == "true"


def _kind(node: Any) -> str:
    return {"sequence": "a list", "mapping": "a mapping"}.get(node.id, "a single value")


def _at(file: str, node: Any) -> str:
    return f"{file}:{node.start_mark.line + 1}"


def _unreadable(path: Path, error: Exception) -> RecipeError:
    reason = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read: {_why(error)}"
    beside = _first_recipe(path.parent) if isinstance(error, FileNotFoundError) else "check its name and permissions"
    return RecipeError(f"the recipe {reason}", place=show(path, 200), hint=beside)


def _why(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


def _first_recipe(folder: Path) -> str:
    try:
        recipes = sorted(file for file in folder.glob("*.y*ml") if file.is_file())
    except (OSError, ValueError):
        recipes = []
    if recipes:
        return f"there is `{home_of(recipes[0])}`"
    return "`lorry init` writes a recipe to start from"
