"""Writes docs/reference from the code: the recipe's settings, the plugins, and the command line.

`make docs` runs it; a test compares its pages with the files, so they are never behind the code.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BeforeValidator
from pydantic.fields import FieldInfo

from lorry import plugins
from lorry.cli import main as cli
from lorry.errors import InputError, LorryError
from lorry.evaluate.metrics._base import Metric
from lorry.plan.explained import explanations
from lorry.recipe.schema import DataSettings, Recipe
from lorry.recipe.section import Section
from lorry.recipe.sources import Source

FOLDER = Path(__file__).parent / "reference"
SIGNS: dict[type, tuple[str, str]] = {
    Ge: ("ge", "from {}"),
    Gt: ("gt", "above {}"),
    Le: ("le", "to {}"),
    Lt: ("lt", "below {}"),
}
KINDS: dict[Any, str] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "`true` or `false`",
    NoneType: "`null`",
}
CHOSEN_IN = {
    "formats": "`data.format`; `auto` finds the format by itself",
    "converters": "none is chosen, `lorry data convert --from NAME -o SETTING=VALUE` does",
    "checks": "none is chosen, `lorry check` and `lorry run` do them all",
    "methods": "`method`",
    "metrics": "`evaluate.metrics`",
    "rewards": "`method.rewards`; `FILE.py:FUNCTION` and the name of a metric are short for `python` and `metric`",
    "sinks": "`track.sinks`",
    "providers": "`compute.on`",
    "importers": "none is chosen, a configuration is recognised by its fields",
}


def pages() -> dict[str, str]:
    """Every page by its file's name."""
    written = {
        "recipe.md": _recipe(),
        "commands.md": _commands(),
        "plugins.md": _plugins(),
        "findings.md": _findings(),
        "errors.md": _errors(),
    }
    note = "<!-- Written by docs/generate.py from the code; `make docs` writes it again. -->\n\n"
    return {name: note + "\n".join(lines).rstrip() + "\n" for name, lines in written.items()}


def _recipe() -> Iterator[str]:
    yield "# Recipe: every setting\n"
    yield "A recipe needs `model.id` and `data.train`; everything else has a default. Unknown keys are refused."
    yield "`extends: other.yaml` takes another recipe's values where this one gives none. A setting can be replaced on"
    yield "the command line: `lorry run recipe.yaml -o train.learning_rate=1e-4`.\n"
    alone = {name: field for name, field in Recipe.model_fields.items() if not _section(field)}
    yield from _settings("At the top", "", alone)
    for name, field in Recipe.model_fields.items():
        section = _section(field)
        if section:
            yield from _section_settings(name, section)
        if section is DataSettings:
            about = "In the place of a file's name in `data.train`, `data.eval` and `data.test`, how its rows are read."
            yield from _settings("A source of rows", about, dict(Source.model_fields))


def _section_settings(name: str, section: type[Section]) -> Iterator[str]:
    """A section's own settings, then those of the sections within it."""
    own = {key: field for key, field in section.model_fields.items() if not _section(field)}
    yield from _settings(f"`{name}`", inspect.getdoc(section) or "", own)
    for key, field in section.model_fields.items():
        below = _section(field)
        if below:
            yield from _section_settings(f"{name}.{key}", below)


def _section(field: FieldInfo) -> type[Section] | None:
    parts = _alternatives(field.annotation)
    return next((part for part in parts if inspect.isclass(part) and issubclass(part, Section)), None)


def _settings(title: str, about: str, fields: dict[str, FieldInfo]) -> Iterator[str]:
    yield f"## {title}\n"
    if about:
        yield f"{about}\n"
    yield "| setting | type | default | what it does |"
    yield "|---|---|---|---|"
    for name, field in fields.items():
        yield _row(f"`{name}`", _type(field), _default(field), field.description or "")
    yield ""


def _row(*cells: str) -> str:
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"


def _type(field: FieldInfo) -> str:
    if _is_choice(field):
        return "name, or a mapping with `name` and settings"
    bounds = [SIGNS[type(one)][1].format(_shown(getattr(one, SIGNS[type(one)][0]))) for one in _bounds(field)]
    kinds = [_kind(one) for one in _alternatives(field.annotation)]
    return " or ".join([" ".join([kinds[0], *bounds]), *kinds[1:]])


def _is_choice(field: FieldInfo) -> bool:
    """Whether the setting chooses a plugin."""
    default = None if field.is_required() else field.get_default(call_default_factory=True)
    return isinstance(default, dict) and set(default) == {"name"}


def _bounds(field: FieldInfo) -> list[Any]:
    return [one for one in field.metadata if type(one) in SIGNS]


def _alternatives(annotation: Any) -> list[Any]:
    """The parts of a union, in order; a type that is none is its own only part."""
    return list(get_args(annotation)) if get_origin(annotation) in (Union, UnionType) else [annotation]


def _kind(annotation: Any) -> str:
    """A type as a person writes it in YAML."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        is_plugin = any(isinstance(one, BeforeValidator) for one in arguments)
        return "name, or a mapping with `name` and settings" if is_plugin else _kind(arguments[0])
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin is list:
        return f"list of {_kind(arguments[0])}"
    if origin is dict:
        return "mapping"
    if annotation is Source:
        return "[a source](#a-source-of-rows)"
    if len(_alternatives(annotation)) > 1:
        return " or ".join(_kind(one) for one in arguments)
    return KINDS[annotation]


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    return f"`{_shown(value['name'] if _is_choice(field) else value)}`"


def _shown(value: Any) -> str:
    """A value as YAML has it."""
    return f"{value:g}" if isinstance(value, float) else json.dumps(value).strip('"')


def _plugins() -> Iterator[str]:
    yield "# Plugins\n"
    yield "A plugin is one file in the folder of its kind, and its name is the file's name; other packages register theirs"
    yield "as entry points in the group `lorry.<kind>`. Settings stand beside the name: `{name: sft, train_on: all}`."
    for kind, package in plugins.KINDS.items():
        yield f"\n## {kind.capitalize()}\n"
        yield f"Folder `src/{package.replace('.', '/')}`; in a recipe: {CHOSEN_IN[kind]}."
        for name in plugins.names(kind):
            plugin = plugins.find(kind, name)
            if plugin.__module__.startswith("lorry."):
                yield from _plugin(kind, name, plugin)


def _plugin(kind: str, name: str, plugin: type[plugins.Plugin]) -> Iterator[str]:
    yield f"\n### `{name}`\n"
    yield _about(kind, plugin)
    if plugin.model_fields:
        yield "\n| setting | type | default | what it does |"
        yield "|---|---|---|---|"
    for setting, field in plugin.model_fields.items():
        yield _row(f"`{setting}`", _type(field), _default(field), field.description or "")


def _about(kind: str, plugin: type[plugins.Plugin]) -> str:
    """What a plugin's docstring says; files of formats and converters show an example, and methods also say what they tell."""
    if kind in ("formats", "converters"):
        return (sys.modules[plugin.__module__].__doc__ or "").strip()
    tells: dict[str, bool] = getattr(plugin, "tells", {})
    told = [f"`{name}` ({'higher' if is_higher else 'lower'} is better)" for name, is_higher in tells.items()]
    if issubclass(plugin, Metric):
        return f"{inspect.getdoc(plugin) or ''}\n\n{plugin.scores_in_words()}"
    more = f"\n\nEvaluations tell {', '.join(told)}." if told else ""
    return (inspect.getdoc(plugin) or "") + more


def _commands() -> Iterator[str]:
    yield "# The command line\n"
    yield "Data goes to stdout, everything else to stderr. Every command takes `--help` and `--debug` (the traceback of"
    yield "any error). A run is named by its id, by the beginning of its id, or `last`.\n"
    for group, names in cli.COMMANDS.items():
        yield f"## {group}\n"
        for name in names:
            yield from _command(f"lorry {name}", _loaded(name))


def _loaded(name: str) -> Any:
    table: Any = cli.CommandTable(name="lorry")
    return table.get_command(None, name)


def _command(path: str, command: Any) -> Iterator[str]:
    below: dict[str, Any] = getattr(command, "commands", {})
    for name, one in below.items():
        yield from _command(f"{path} {name}", one)
    if below and not command.invoke_without_command:
        return
    given = [one for one in command.params if one.param_type_name == "argument"]
    options = [one for one in command.params if one.param_type_name == "option" and one.name not in ("debug", "help")]
    yield f"### `{' '.join([path, *(_placeholder(one) for one in given)])}`\n"
    yield inspect.cleandoc(command.help or "") + "\n"
    for one in [*given, *options]:
        names = ", ".join(f"`{option}`" for option in one.opts) if one in options else f"`{one.name.upper()}`"
        yield f"- {names}: {_help(one)}"
    yield ""


def _placeholder(argument: Any) -> str:
    return argument.name.upper() if argument.required else f"[{argument.name.upper()}]"


def _help(param: Any) -> str:
    text = (param.help or "").strip()
    default = param.default
    told = isinstance(default, (str, int, Path)) and not isinstance(default, bool) and str(default) != ""
    return f"{text} Default: `{default}`." if told and f"{default}" not in text else text


def _findings() -> Iterator[str]:
    yield "# Findings\n"
    yield "What `lorry check`, `lorry run` and `lorry doctor` can find, by code. A code never changes its meaning."
    yield "`lorry explain CODE` prints the same.\n"
    for code, told in explanations().items():
        yield f"## `{code}`\n"
        yield told.means
        if told.why:
            yield f"\n*Why it matters:* {told.why}"
        if told.remedy:
            yield f"\n*What to do:* {told.remedy}"
        yield ""


def _errors() -> Iterator[str]:
    yield "# Exit codes\n"
    yield "| code | error | what it means |"
    yield "|---|---|---|"
    yield _row("0", "", "Done.")
    for error in _tree([LorryError]):
        yield _row(str(error.exit_code), f"`{error.__name__}`", (inspect.getdoc(error) or "").split("\n")[0])


def _tree(errors: Iterable[type[LorryError]]) -> Iterator[type[LorryError]]:
    """The tree of errors that lorry.errors defines, by exit code; those below InputError share its code."""
    own = [error for error in errors if error.__module__ == LorryError.__module__]
    for error in own:
        if error is not LorryError:
            yield error
        if error is not InputError:
            yield from _tree(sorted(error.__subclasses__(), key=lambda one: (one.exit_code, one.__name__)))


def main() -> None:
    """Writes every page."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
