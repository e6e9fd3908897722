"""Says everything that is wrong with a recipe, in one go: where, what, and what was probably meant."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple, cast, get_args

from pydantic import BaseModel, ValidationError

from lorry.errors import RecipeError
from lorry.recipe.foreign_names import TARGETS
from lorry.recipe.layer import Keys, Layer, get, show
from lorry.recipe.schema import Recipe


class Problem(NamedTuple):
    """One thing that is wrong: `demo.yaml:12: train.learning_rat`, `unknown key`, "did you mean `learning_rate`?"."""

    place: str
    message: str
    hint: str = ""


_MESSAGES = {
    "missing": "is missing",
    "extra_forbidden": "unknown key",
    "int_type": "must be a whole number, and is {value}",
    "int_parsing": "must be a whole number, and is {value}",
    "int_from_float": "must be a whole number, and is {value}",
    "int_parsing_size": "is too large",
    "float_type": "must be a number, and is {value}",
    "float_parsing": "must be a number, and is {value}",
    "finite_number": "must be a finite number, and is {value}",
    "bool_type": "must be true or false, and is {value}",
    "bool_parsing": "must be true or false, and is {value}",
    "string_type": "must be text, and is {value}",
    "list_type": "must be a list, and is {value}",
    "dict_type": "must be a name, or a mapping with a `name`, and is {value}",
    "model_type": "must be a mapping of settings, and is {value}",
    "literal_error": "must be {expected}, and is {value}",
    "greater_than_equal": "must be at least {ge}, and is {value}",
    "greater_than": "must be more than {gt}, and is {value}",
    "less_than_equal": "must be at most {le}, and is {value}",
    "less_than": "must be less than {lt}, and is {value}",
    "too_short": "must not be empty",
    "string_too_short": "must not be empty",
    "value_error": "{error}",
}
"""Kinds of pydantic's errors in lorry's words; others keep pydantic's."""


def refuse(problems: Sequence[Problem], file: str) -> None:
    """Raises one RecipeError that tells all problems; returns when there are none."""
    if len(problems) == 1:
        place, message, hint = problems[0]
        raise RecipeError(message, place=place, hint=hint or "`lorry recipe schema` lists every setting and its bounds")
    if problems:
        lines = [f"{place}: {message}" + (f" ({hint})" if hint else "") for place, message, hint in problems]
        raise RecipeError(
            "\n  ".join([f"{len(problems)} problems", *lines]),
            place=file,
            hint="`lorry recipe schema` lists every setting and its bounds",
        )


def explain(
    error: ValidationError, layer: Layer, file: str, *, at: Keys = (), of: type[BaseModel] = Recipe
) -> list[Problem]:
    """Pydantic's errors as problems with places; `at` is where the settings that were checked stand in the recipe."""
    data = get(layer.values, at) if at else layer.values
    found: dict[Keys, list[tuple[str, Any]]] = {}
    for detail in error.errors():
        keys, branch = _own_keys(detail["loc"], data)
        found.setdefault(keys, []).append((branch, detail))
    return [Problem(where(layer, (*at, *keys), file), *_told(keys, details, of, at)) for keys, details in found.items()]


def where(layer: Layer, keys: Keys, file: str) -> str:
    """A place as messages show it: `demo.yaml:12: train.steps`."""
    path = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).lstrip(".")
    return f"{layer.place(keys) or file}: {show(path)}" if path else file


def unknown_name(name: str, siblings: Sequence[str], at: Keys = ()) -> str:
    """What was probably meant by a name that no setting has."""
    if near := get_close_matches(name, siblings, n=1):
        return f"did you mean `{near[0]}`?"
    leaves = dict(_leaves())
    if name in TARGETS or name in leaves:
        return f"did you mean `{TARGETS[name].path if name in TARGETS else leaves[name]}`?"
    if near := get_close_matches(name, [*leaves, *TARGETS], n=1, cutoff=0.75):
        return f"did you mean `{leaves.get(near[0]) or TARGETS[near[0]].path}`?"
    listed = ", ".join(f"`{sibling}`" for sibling in siblings) or "none"
    return f"settings of `{'.'.join(map(str, at))}`: {listed}" if at else f"a recipe's parts: {listed}"


def section_of(model: type[BaseModel], key: str) -> type[BaseModel] | None:
    """The model of a section's settings; None for a key that holds a plain value."""
    field = model.model_fields.get(key)
    kinds = [field.annotation, *get_args(field.annotation)] if field else []
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


def _own_keys(location: Sequence[str | int], data: Any) -> tuple[Keys, str]:
    """A location without the names that pydantic gives to the branches of a union, and such a name if there was one."""
    keys: list[str | int] = []
    branch, here = "", data
    for number, part in enumerate(location):
        is_item = isinstance(here, list) and isinstance(part, int)
        is_key = isinstance(here, dict) and (part in here or number == len(location) - 1)
        if not (is_item or is_key):
            branch = branch or str(part)
            continue
        keys.append(part)
        here = get({"_": here}, ("_", part))
    return tuple(keys), branch


def _told(keys: Keys, details: list[tuple[str, Any]], model: type[BaseModel], at: Keys) -> tuple[str, str]:
    """Message and hint for all that pydantic found at one place: more than one for a value of several types."""
    value = details[0][1]["input"]
    lists = [detail for branch, detail in details if branch.startswith("list")]
    others = [detail for branch, detail in details if not branch.startswith("list")]
    detail = (lists if isinstance(value, list) and lists else others or lists)[0]
    message = _message(detail)
    if lists and others and not isinstance(value, list):
        message = message.replace(", and is", " or a list of names, and is", 1)
    return message, _hint(detail, keys, model, at)


def _message(detail: Any) -> str:
    context = cast("dict[str, Any]", detail.get("ctx") or {})
    value = detail["input"]
    shown = (
        f"`{show(value)}`"
        if not isinstance(value, (dict, list))
        else "a list"
        if isinstance(value, list)
        else "a mapping"
    )
    template = _MESSAGES.get(detail["type"])
    if template is None:
        return str(detail["msg"])
    expected = str(context.get("expected", "")).replace("'", "`")
    return template.format(**{**context, "value": shown, "expected": expected})


def _hint(detail: Any, keys: Keys, model: type[BaseModel], at: Keys) -> str:
    kind, value = detail["type"], detail["input"]
    if kind == "extra_forbidden":
        siblings = _names_at(model, keys[:-1])
        return unknown_name(
            str(keys[-1]), [*siblings, "extends"] if model is Recipe and len(keys) == 1 else siblings, (*at, *keys[:-1])
        )
    if kind == "literal_error" and isinstance(value, str):
        near = get_close_matches(value, re.findall(r"'([^']*)'", str(detail["ctx"]["expected"])), n=1)
        return f"did you mean `{near[0]}`?" if near else ""
    if kind == "string_type" and isinstance(value, (int, float)):
        return "put it in quotes"
    if kind == "missing":
        return _help_of(model, keys)
    return ""


def _names_at(model: type[BaseModel], keys: Keys) -> list[str]:
    for key in keys:
        if isinstance(key, int):
            continue  # what stands in a list is looked for with the list
        field = model.model_fields.get(key)
        inner = next(_models_in(field.annotation), None) if field else None
        if inner is None:
            return []
        model = inner
    return list(model.model_fields)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that an annotation allows, in lists and unions too."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)


def _help_of(model: type[BaseModel], keys: Keys) -> str:
    for key in keys[:-1]:
        model = section_of(model, str(key)) or model
    field = model.model_fields.get(str(keys[-1]))
    inner = section_of(model, str(keys[-1]))
    text = (field.description or (inner.__doc__ if inner else "") or "") if field else ""
    return text.split("\n", 1)[0].rstrip(".")


def _leaves() -> Iterator[tuple[str, str]]:
    """Every setting within a section, by its own name: `learning_rate`, `train.learning_rate`."""
    for section in Recipe.model_fields:
        inner = section_of(Recipe, section)
        for name in inner.model_fields if inner else ():
            yield name, f"{section}.{name}"
