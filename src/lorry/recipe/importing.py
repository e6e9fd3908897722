"""Configurations of other systems: recognised by their fields, and read as recipes, each field accounted for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast

from lorry import plugins
from lorry.errors import RecipeError
from lorry.recipe.importers._base import Importer
from lorry.recipe.importers._sheet import Fate, Field, Sheet
from lorry.recipe.layer import Layer, home_of
from lorry.recipe.problems import Problem, refuse
from lorry.recipe.schema import Recipe

ENGINES = {"axolotl": "Axolotl", "unsloth": "Unsloth"}
"""Systems that may do what lorry's own trainer does not, and what they are called."""


@dataclass(frozen=True)
class Imported:
    """A foreign configuration, what it became, and what became of each of its fields."""

    system: str
    """`axolotl`, `llamafactory`."""
    title: str
    file: str
    """As messages name it."""
    given: Mapping[str, Any]
    """The configuration as it was read; an engine of the same system takes it as it is."""
    layer: Layer
    """The recipe, in the recipe's own terms."""
    fields: tuple[Field, ...]
    sources: Mapping[str, tuple[str, ...]]
    """Which fields made a setting of the recipe; none for what the system does by itself."""

    def of(self, fate: Fate) -> list[Field]:
        """The fields of one fate, in the order of the file."""
        return [one for one in self.fields if one.fate is fate]

    @property
    def left_out(self) -> list[Field]:
        """Fields without which something else would be learnt."""
        return [one for one in self.fields if one.matters]


def importers() -> list[type[Importer]]:
    """Those that there are."""
    return [cast("type[Importer]", plugins.find("importers", name)) for name in plugins.names("importers")]


def recognised(values: Mapping[str, Any], file: str) -> type[Importer] | None:
    """Whose configuration this is; None for a recipe, and for what is nobody's.

    Raises RecipeError for one that holds fields of two systems.
    """
    if "extends" in values or any(isinstance(values.get(name), dict) for name in Recipe.model_fields):
        return None
    marked = [one for one in importers() if one.needs in values or len(one.marks & values.keys()) >= _ENOUGH]
    found = [one for one in marked if one.needs in values] or marked
    if len(found) > 1:
        listed = " and ".join(f"{one.title} ({_some(one, values)})" for one in found)
        hint = "keep the fields of one of them"
        raise RecipeError(f"holds fields of two systems: {listed}", place=file, hint=hint)
    return found[0] if found else None


def read(kind: type[Importer], layer: Layer, path: Path, *, leaving_out: bool = False) -> Imported:
    """A configuration as a recipe.

    Raises RecipeError, for all fields at once, where one is wrong, or means something to the training that lorry cannot do,
    unless such are to be left out.
    """
    file = home_of(path)
    sheet = Sheet(layer.values, layer, file, bases(path.absolute().parent))
    kind().fill(sheet)
    fields = tuple(sorted(sheet.fields.values(), key=_in_order))
    mattering = [] if leaving_out else [_problem(one, kind) for one in fields if one.matters]
    try:
        refuse([*sheet.problems, *mattering], file)
    except RecipeError as error:
        hint = error.hint if sheet.problems else _way_out(mattering, file)
        raise RecipeError(error.message, place=error.place, hint=hint) from None
    sources = {path: tuple(names) for path, names in sheet.sources.items()}
    return Imported(kind.name, kind.title, file, layer.values, sheet.made, fields, sources)


def bases(folder: Path) -> tuple[Path, ...]:
    """Where paths of foreign configurations start: the current folder, as there, else the file's own."""
    return (Path.cwd(), folder, Path.cwd())


def can(one: Field, kind: type[Importer]) -> str:
    """Who can do what lorry's own trainer cannot."""
    engines = [ENGINES[engine] for engine in one.engines if engine in ENGINES]
    if engines:
        return f"{' and '.join(engines)}, run by {'themselves' if len(engines) > 1 else 'itself'}, can"
    return f"{kind.title} itself can" if one.engines else ""


_ENOUGH = 3
"""Marks by which a configuration is taken for a system's own though what the system needs is missing."""


def _some(kind: type[Importer], values: Mapping[str, Any]) -> str:
    return ", ".join(f"`{name}`" for name in values if name in kind.marks)


def _problem(one: Field, kind: type[Importer]) -> Problem:
    place = f"{one.place}: {one.name}"
    if one.fate is Fate.UNKNOWN:
        return Problem(place, f"{kind.title} has no such field, as far as lorry knows", _meant(one, kind))
    return Problem(place, f"{one.value}: {one.why}", can(one, kind))


def _meant(one: Field, kind: type[Importer]) -> str:
    """What an unknown field was probably meant to be."""
    name = one.name.rpartition(".")[2]
    if near := get_close_matches(name, sorted(kind.known()), n=1, cutoff=0.75):
        return f"did you mean `{near[0]}`?"
    owner = next((other.title for other in importers() if name in other.known()), "")
    return (f"it is a field of {owner}; " if owner else "") + "remove it, or begin its name with `_`"


def _way_out(problems: Sequence[Problem], file: str) -> str:
    """What to do about fields that matter: for one of them, who can do it is said as well."""
    them = "them" if len(problems) > 1 else "it"
    way = f"`lorry recipe import {file} --leave-out` writes a recipe without {them}"
    return f"{problems[0].hint}; {way}" if len(problems) == 1 and problems[0].hint else way


def _in_order(one: Field) -> tuple[int, str]:
    number = one.place.rpartition(":")[2]
    return (int(number) if number.isdigit() else 0, one.name)
