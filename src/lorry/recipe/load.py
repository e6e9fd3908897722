"""From a file to a recipe: defaults < the recipes it extends < the file < `-o` flags.

Where a value replaces another that somebody wrote, a warning names both. Everything wrong is told in one go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

from pydantic import ValidationError

from lorry import plugins
from lorry.errors import InputError, RecipeError
from lorry.recipe.layer import PLUGIN_KEYS, Keys, Layer, get, home_of, merge, put, show
from lorry.recipe.overrides import parse_overrides
from lorry.recipe.paths import exists, make_absolute
from lorry.recipe.problems import Problem, explain, refuse, where
from lorry.recipe.rewards import as_metric, as_reward
from lorry.recipe.schema import Recipe, as_providers
from lorry.recipe.yaml_file import parse, read_text

if TYPE_CHECKING:
    from lorry.recipe.earlier import Earlier
    from lorry.recipe.importing import Imported

_RIVALS: dict[Keys, Keys] = {("train", "steps"): ("train", "epochs"), ("train", "epochs"): ("train", "steps")}
"""Settings of which a recipe has one: giving one drops the other that a lower layer gave."""


@dataclass(frozen=True)
class Loaded:
    """A recipe, whole and checked, with what it came from."""

    recipe: Recipe
    base: Path
    """The folder of the recipe; the recipe's own paths are absolute by now."""
    text: str
    """The file as given; empty for a recipe that came as a dictionary."""
    warnings: list[str]
    """One for each value that replaced another, naming both, and for each setting that has no effect."""
    imported: tuple[Imported, ...] = ()
    """What was read from configurations of other systems: what became of each of their fields."""
    to_come: Mapping[Keys, Earlier] = field(default_factory=dict)
    """Adapters that another recipe of the same command makes, by the place that names it; other places tell by themselves."""


def load(path: Path | str, overrides: Sequence[str] = ()) -> Loaded:
    """The recipe in a YAML or Python file. Raises RecipeError, which tells everything that is wrong and where.

    A Python recipe is run: give only files that you trust. Paths in flags start from the current folder.
    """
    path = Path(path)
    text = read_text(path)
    layer = _with_parents(path, text, ())
    flags = parse_overrides(overrides)
    _prepare(flags, [Path.cwd()])
    layer = _lay_over(layer, flags)
    recipe, imported = _checked(layer, home_of(path)), tuple(layer.imported)
    if imported and imported[0].file == home_of(path):
        from lorry.recipe.imported_text import written

        text = written(imported[0])
    return Loaded(recipe, path.absolute().parent, text, layer.warnings, imported)


def imported(path: Path, *, leaving_out: bool = False) -> Imported:
    """Another system's configuration as a recipe, its paths whole; checked, unless what matters may be left out.

    Raises RecipeError for what is no such configuration, and as `importing.read` does.
    """
    from lorry.recipe.importing import bases, importers, read, recognised

    file = home_of(path)
    layer = parse(read_text(path), file)
    kind = recognised(layer.values, file)
    if kind is None:
        titles = " or ".join(one.title for one in importers())
        hint = "`lorry recipe show` shows what lorry takes it for"
        raise RecipeError(f"is no configuration of {titles}", place=file, hint=hint)
    found = read(kind, layer, path, leaving_out=leaving_out)
    _prepare(found.layer, bases(path.absolute().parent))
    if not leaving_out:
        check(found.layer, file)
    return found


def check(layer: Layer, file: str) -> None:
    """Raises RecipeError, which tells everything that is wrong with a recipe's values and where."""
    _checked(layer, file)


def from_dict(data: Mapping[str, Any], base: Path) -> Loaded:
    """A recipe given as nested dictionaries, its paths relative to `base`. Raises RecipeError as `load` does."""
    if not isinstance(data, Mapping):
        raise RecipeError(f"a recipe is a mapping, and this is of type {type(data).__name__}", place="recipe")
    layer = Layer(deepcopy(dict(data)))
    _prepare(layer, [base])
    return Loaded(_checked(layer, "recipe"), base.absolute(), "", [])


def with_flags(recipe: Recipe, overrides: Sequence[str]) -> Recipe:
    """A recipe with `-o` flags laid over it. Raises RecipeError as `load` does."""
    if not overrides:
        return recipe
    flags = parse_overrides(overrides)
    _prepare(flags, [Path.cwd()])
    return _checked(_lay_over(Layer(recipe.model_dump(mode="json")), flags), "recipe")


def _with_parents(path: Path, text: str, children: tuple[Path, ...]) -> Layer:
    """The file's layer over those that it extends."""
    layer, bases = _read(path, text)
    parent = layer.values.pop("extends", None)
    _prepare(layer, bases)
    if parent is None:
        return layer
    place = where(layer, ("extends",), home_of(path))
    if not isinstance(parent, str) or not parent:
        raise RecipeError(f"must be the path of a recipe, and is {show(parent)}", place=place)
    file = path.parent / Path(parent)
    if not exists(file) or not file.is_file():
        hint = "the path is relative to the recipe that extends"
        raise RecipeError(f"there is no file `{show(home_of(file), 200)}`", place=place, hint=hint)
    chain = (*children, path.resolve())
    if file.resolve() in chain:
        circle = " → ".join(link.name for link in (*chain, file.resolve()))
        raise RecipeError(f"recipes extend each other in a circle: {circle}", place=place, hint="remove one `extends`")
    return _lay_over(_with_parents(file, read_text(file), chain), layer)


def _read(path: Path, text: str) -> tuple[Layer, list[Path]]:
    """One file's layer, and the folders from which its paths start."""
    if path.suffix == ".py":
        from lorry.recipe.python_file import read

        return read(path)
    layer = parse(text, home_of(path))
    found = _imported(layer, path)
    return (layer, [path.parent]) if found is None else found


def _imported(layer: Layer, path: Path) -> tuple[Layer, list[Path]] | None:
    """What a configuration of another system says, and where its paths start; None for a recipe."""
    from lorry.recipe.importing import bases, read, recognised

    kind = recognised(layer.values, home_of(path))
    if kind is None:
        return None
    found = read(kind, layer, path)
    found.layer.imported.append(found)
    return found.layer, list(bases(path.absolute().parent))


def _prepare(layer: Layer, bases: Sequence[Path]) -> None:
    """Brings a layer to one form before it is merged: plugins as mappings, paths whole, empty sections left out."""
    for name in [name for name, value in layer.values.items() if value is None and _is_plain_section(name)]:
        del layer.values[name]
    for keys in PLUGIN_KEYS:
        chosen = get(layer.values, keys)
        if isinstance(chosen, str):
            put(layer.values, keys, {"name": chosen})
    make_absolute(layer.values, bases)


def _is_plain_section(name: str) -> bool:
    """Whether `name:` with nothing under it means the section's defaults; for `lora` it means no adapter."""
    field = Recipe.model_fields.get(name)
    return field is not None and type(None) not in get_args(field.annotation) and (name,) not in PLUGIN_KEYS


def _lay_over(under: Layer, over: Layer) -> Layer:
    for key, rival in _RIVALS.items():
        new, old = get(over.values, key), get(under.values, rival)
        if new is None or old is None or get(over.values, rival) is not None:
            continue
        names = ".".join(map(str, key)), ".".join(map(str, rival))
        over.warnings.append(
            f"{over.place(key)}: {names[0]} = {show(new)} overrides {names[1]} = {show(old)} of {under.place(rival)}"
        )
        under = Layer(deepcopy(under.values), under.places, under.warnings, under.imported)
        put(under.values, rival, None)
    return merge(under, over)


def _checked(layer: Layer, file: str) -> Recipe:
    method = layer.values.get("method")
    if isinstance(method, dict):
        cast("dict[str, Any]", method).setdefault("name", "sft")
    problems: list[Problem] = []
    recipe = None
    try:
        recipe = Recipe.model_validate(layer.values)
    except ValidationError as error:
        problems += explain(error, layer, file)
    problems += _plugin_problems(layer, file)
    refuse(problems, file)
    if recipe is None:
        raise AssertionError("a recipe that does not validate has problems")
    return recipe


def _plugin_problems(layer: Layer, file: str) -> list[Problem]:
    """What is wrong with the plugins that the recipe chooses, and with their settings."""
    problems = _of_plugin("methods", ("method",), layer, file) + _of_rewards(layer, file)
    if get(layer.values, ("data", "format")) != {"name": "auto"}:
        problems += _of_plugin("formats", ("data", "format"), layer, file)
    problems += _of_sources(layer, file)
    problems += _of_metrics(layer, file)
    problems += _of_each("sinks", ("track", "sinks"), layer, file)
    return problems + _of_providers(layer, file)


def _of_sources(layer: Layer, file: str) -> list[Problem]:
    """What is wrong with the formats of single sources of rows."""
    problems: list[Problem] = []
    for split in ("train", "eval", "test"):
        given = get(layer.values, ("data", split))
        rows = cast("list[Any]", given) if isinstance(given, list) else [given]
        for number, one in enumerate(rows):
            at: Keys = ("data", split, *([number] if isinstance(given, list) else []), "format")
            if isinstance(one, dict) and cast("dict[str, Any]", one).get("format") not in (
                None,
                "auto",
                {"name": "auto"},
            ):
                problems += _of_plugin("formats", at, layer, file)
    return problems


def _of_providers(layer: Layer, file: str) -> list[Problem]:
    """What is wrong with where it is to train; one may be named by itself, and a host be written behind a colon."""
    at: Keys = ("compute", "on")
    try:
        given = as_providers(get(layer.values, at) or [])
    except ValueError:
        return []  # refused by the recipe's own check
    told = Layer({"compute": {"on": given}}, layer.places)
    return _of_each("providers", at, told, file)


def _of_rewards(layer: Layer, file: str) -> list[Problem]:
    """What is wrong with the rewards of the method, and with the metrics that are rewards; one may be chosen twice."""
    at: Keys = ("method", "rewards")
    given = get(layer.values, at)
    if not isinstance(given, list):
        return []  # absent, or refused by the method's own check
    rewards = [as_reward(one) for one in cast("list[Any]", given)]
    told = Layer({"method": {"rewards": rewards}}, layer.places)
    problems: list[Problem] = []
    for number, reward in enumerate(rewards):
        problems += _of_plugin("rewards", (*at, number), told, file)
        if get(reward, ("name",)) == "metric":
            problems += _of_plugin("metrics", (*at, number, "metric"), told, file)
    return problems


def _of_metrics(layer: Layer, file: str) -> list[Problem]:
    """What is wrong with the metrics, functions of the person's own among them."""
    at: Keys = ("evaluate", "metrics")
    given = get(layer.values, at)
    if not isinstance(given, list):
        return []  # absent, or refused by the recipe's own check
    metrics = [as_metric(one) for one in cast("list[Any]", given)]
    return _of_each("metrics", at, Layer({"evaluate": {"metrics": metrics}}, layer.places), file)


def _of_each(kind: str, at: Keys, layer: Layer, file: str) -> list[Problem]:
    """What is wrong with a list of plugins; each may be chosen once."""
    given = get(layer.values, at)
    problems: list[Problem] = []
    chosen: list[Any] = []
    for number, one in enumerate(cast("list[Any]", given) if isinstance(given, list) else []):
        keys: Keys = (*at, number)
        problems += _of_plugin(kind, keys, layer, file)
        name = _called(one)
        if name in chosen:
            problems.append(Problem(where(layer, keys, file), f"the {kind[:-1]} `{show(name)}` is chosen twice"))
        chosen.append(name)
    return problems


def _called(one: Any) -> Any:
    """What tells a plugin from others of its kind: its name, and of a function of the person's own the function's."""
    if not isinstance(one, dict):
        return one
    name = get(one, ("name",))
    return get(one, ("function",)) if name == "python" else name


def _of_plugin(kind: str, keys: Keys, layer: Layer, file: str) -> list[Problem]:
    given = get(layer.values, keys)
    if not isinstance(given, (str, dict)):
        return []  # absent, or refused by the recipe's own check
    settings = {"name": given} if isinstance(given, str) else dict(cast("dict[str, Any]", given))
    name = settings.pop("name", None)
    try:
        if not isinstance(name, str):
            plugins.make(kind, settings)
            return []
        plugin = plugins.find(kind, name)
        plugin.model_validate(settings)
    except ValidationError as error:
        return explain(error, layer, file, at=keys, of=plugins.find(kind, str(name)))
    except InputError as error:
        return [Problem(where(layer, keys, file), error.message, error.hint)]
    return []
